// SPDX-License-Identifier: Apache-2.0
// Direct server return: a client of the world asks this node or another one, and the backend's node answers it. First this
// node is the one that is asked, then the one that has the backend.

import { Protocol } from '../../src/core/protocol.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { Realm } from '../../src/generated/abi.ts'
import {
  allow,
  answering,
  config,
  deny,
  ingress,
  nativeHybrid,
  peer,
  pod,
  serviceOf,
  tunnelled,
  tunnelledHybrid,
  world,
} from './cluster.ts'
import { type At, delivered, dropped, fromNetdev, fromPod, packet, passed, refused, sent } from './row.ts'
import { firstFragment, frame, fresh, type InFamily, icmpError, laterFragment, tcp, udp, vxlan } from './vocabulary.ts'

/** What another node brings for a backend here. */
const led = (inner: InFamily<IpPacket>, asked = 'vip:80'): At =>
  fromNetdev(vxlan('n2', 'n1', inner, { asked, sourcePort: 0 }))
const webSyn = tcp('outside:4000', 'web:8080', 'S')
const webAnswer = fromPod('web', tcp('web:8080', 'outside:4000', 'SA'))

for (const [name, hybrid] of [
  ['native', nativeHybrid],
  ['vxlan', tunnelledHybrid],
] as const) {
  /** A packet of an opened connection between this node and the backend's. */
  const between = (from: string, to: string, inner: InFamily<IpPacket>) =>
    name === 'native' ? inner : vxlan(from, to, inner, { sourcePort: 0 })

  // -- The node that is asked --------------------------------------------------------------------------------------

  for (const at of ['n1:30080', 'vip:80']) {
    const remote = answering(world(pod('web'), serviceOf(at, { external: ['away:8080'] })))
    const syn = fromNetdev(tcp('outside:4000', at, 'S'))
    const toBackend = tcp('outside:4000', 'away:8080', 'S', { hopLimit: 63 })

    packet(`${name}, ${at}: the first packet goes to the backend’s node with what was asked, from the client`, {
      config: hybrid,
      world: remote,
      when: syn,
      then: {
        verdict: 'redirect',
        tunnel: true,
        gateway: 'n2',
        out: vxlan('n1', 'n2', toBackend, { asked: at, sourcePort: 0 }, { dontFragment: true }),
      },
      families: [4],
    })

    packet(`${name}, ${at}: the first packet, by IPv6`, {
      config: hybrid,
      world: remote,
      when: syn,
      then: {
        verdict: 'redirect',
        tunnel: true,
        gateway: 'n2',
        out: vxlan('n1', 'n2', toBackend, { asked: at, sourcePort: 0 }),
      },
      families: [6],
    })

    packet(`${name}, ${at}: a first packet that comes again goes the same way`, {
      config: hybrid,
      world: remote,
      given: [syn],
      when: syn,
      then: { verdict: 'redirect', tunnel: true, gateway: 'n2' },
    })

    packet(`${name}, ${at}: every other one as any to a pod there`, {
      config: hybrid,
      world: remote,
      given: [syn],
      when: fromNetdev(tcp('outside:4000', at, 'A')),
      then: {
        verdict: 'redirect',
        gateway: 'n2',
        tunnel: name === 'vxlan',
        out: (family) => {
          const inner = tcp('outside:4000', 'away:8080', 'A', { hopLimit: 63 })
          if (name === 'native') return inner(family)
          return vxlan('n1', 'n2', inner, { sourcePort: 0 }, { dontFragment: family === 4 })(family)
        },
      },
    })

    packet(`${name}, ${at}: a client’s port outside those of this node stays: none is allocated`, {
      config: { ...hybrid, natPortMin: 50000, natPortMax: 50000 },
      world: remote,
      given: [syn],
      when: fromNetdev(tcp('client:4000', at, 'S')),
      then: { verdict: 'redirect', tunnel: true },
    })

    packet(`${name}, ${at}: a client who speaks to that backend from that port by another Service sees this node`, {
      config: hybrid,
      world: answering(
        world(serviceOf(at, { external: ['away:8080'] }), serviceOf('n1:31000', { external: ['away:8080'] })),
      ),
      given: [syn],
      when: fromNetdev(tcp('outside:4000', 'n1:31000', 'S')),
      then: { verdict: 'redirect', tunnel: name === 'vxlan', translationFlags: [0x1, 0x10, 0x21, 0x30] },
    })

    packet(`${name}, ${at}: a node that cannot answer is asked by this one`, {
      config: hybrid,
      world: world(serviceOf(at, { external: ['away:8080'] })),
      when: fromNetdev(tcp('outside:40000', at, 'S')),
      then: { verdict: 'redirect', tunnel: name === 'vxlan' },
    })

    packet(`${name}, ${at}: so is a process of another node`, {
      config: hybrid,
      world: answering(world(serviceOf(at, { external: ['n2:6443'] }))),
      when: fromNetdev(tcp('outside:40000', at, 'S')),
      then: { verdict: 'redirect', tunnel: name === 'vxlan' },
    })

    packet(`${name}, ${at}: a backend here answers as ever`, {
      config: hybrid,
      world: answering(world(pod('web'), serviceOf(at, { external: ['web:8080'] }))),
      when: syn,
      then: delivered('web', tcp('outside:4000', 'web:8080', 'S', { hopLimit: 63 })),
    })

    packet(`${name}, ${at}: UDP goes by this node`, {
      config: hybrid,
      world: answering(world(serviceOf(at, { protocol: Protocol.UDP, external: ['away:8080'] }))),
      when: fromNetdev(udp('outside:40000', at)),
      then: { verdict: 'redirect', tunnel: name === 'vxlan' },
    })

    packet(`${name}, ${at}: another node as a client sees this one`, {
      config: hybrid,
      world: remote,
      when: fromNetdev(tcp('n3:40000', at, 'S')),
      then: { verdict: 'redirect', tunnel: name === 'vxlan' },
    })

    packet(
      `${name}, ${at}: an error about an answer, from a router of the world, reaches the backend’s node from this one`,
      {
        config: hybrid,
        world: remote,
        given: [syn],
        when: fromNetdev(icmpError('packet too big', 'client', tcp(at, 'outside:4000', 'A'))),
        then: {
          verdict: 'redirect',
          gateway: 'n2',
          out: (family) => {
            const inner = icmpError('packet too big', 'n1', tcp('away:8080', 'outside:4000', 'A'), { hopLimit: 63 })
            if (name === 'native') return inner(family)
            return vxlan('n1', 'n2', inner, { sourcePort: 0 }, { dontFragment: family === 4 })(family)
          },
        },
      },
    )

    packet(`${name}, ${at}: a first packet too large for the tunnel is told the client`, {
      config: hybrid,
      world: remote,
      when: fromNetdev(tcp('outside:4000', at, 'S', { payloadBytes: 1400 })),
      then: {
        verdict: 'drop',
        reason: 'TOO_LARGE',
        answer: (family) => {
          const quoted = tcp('outside:4000', at, 'S', { payloadBytes: 0 })
          const told = fresh(icmpError('packet too big', at.split(':')[0]!, quoted))(family)
          const word = 1500 - (family === 4 ? 50 : 70) - 24
          return { ...told, transport: { ...told.transport, word } as IpPacket['transport'] }
        },
      },
    })

    packet(`${name}, ${at}: source ranges hold`, {
      config: hybrid,
      world: answering(world(serviceOf(at, { external: ['away:8080'], ranges: ['client'] }))),
      when: syn,
      then: dropped('SOURCE_RANGE'),
    })
  }

  packet(`${name}: asked at an address of the Service CIDR, which no other node would answer from`, {
    config: hybrid,
    world: answering(world(serviceOf('shop:80', { external: ['away:8080'] }))),
    when: fromNetdev(tcp('outside:4000', 'shop:80', 'S')),
    then: { verdict: 'redirect', tunnel: name === 'vxlan', translationFlags: [0x1, 0x10] },
  })

  // -- The backend's node ------------------------------------------------------------------------------------------

  const here = world(pod('web'))

  packet(`${name}: a pod here sees the client whom another node has led to it`, {
    config: hybrid,
    world: here,
    when: led(webSyn),
    then: delivered('web', tcp('outside:4000', 'web:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: asked at that node’s own address`, {
    config: hybrid,
    world: here,
    when: led(webSyn, 'n2:30080'),
    then: delivered('web'),
  })

  packet(`${name}: its answer leaves by this node, from what was asked`, {
    config: hybrid,
    world: here,
    given: [led(webSyn)],
    when: webAnswer,
    then: sent(null, tcp('vip:80', 'outside:4000', 'SA', { hopLimit: 63 })),
  })

  packet(`${name}: the connection goes on`, {
    config: hybrid,
    world: here,
    given: [led(webSyn), webAnswer],
    when: fromNetdev(between('n2', 'n1', tcp('outside:4000', 'web:8080', 'A'))),
    then: {
      ...delivered('web', tcp('outside:4000', 'web:8080', 'A', { hopLimit: 63 })),
      // Its client has sent an ACK; answers were seen.
      translationFlags: [0x20, 0x23],
    },
  })

  packet(`${name}: and so do the answers`, {
    config: hybrid,
    world: here,
    given: [led(webSyn), webAnswer, fromNetdev(between('n2', 'n1', tcp('outside:4000', 'web:8080', 'A')))],
    when: fromPod('web', tcp('web:8080', 'outside:4000', 'A', { payloadBytes: 100 })),
    then: sent(null, tcp('vip:80', 'outside:4000', 'A', { hopLimit: 63, payloadBytes: 100 })),
  })

  packet(`${name}: its end is seen`, {
    config: hybrid,
    world: here,
    given: [led(webSyn), webAnswer],
    when: fromNetdev(between('n2', 'n1', tcp('outside:4000', 'web:8080', 'RA'))),
    then: { ...delivered('web'), translationFlags: [0x23, 0x24] },
  })

  packet(`${name}: a first packet that comes again enters nothing new`, {
    config: hybrid,
    world: here,
    given: [led(webSyn), webAnswer],
    when: led(webSyn),
    then: { ...delivered('web'), translationFlags: [0x23, 0x30] },
  })

  packet(`${name}: the client asked this node before, and goes on by another`, {
    config: hybrid,
    world: world(pod('web'), serviceOf('vip:80', { external: ['web:8080'] })),
    given: [fromNetdev(tcp('outside:4000', 'vip:80', 'S')), led(webSyn)],
    when: fromNetdev(between('n2', 'n1', tcp('outside:4000', 'web:8080', 'A'))),
    then: { ...delivered('web'), translationFlags: [0x20, 0x21] },
  })

  packet(`${name}: the next connection from that port, to another pod here, replaces the last`, {
    config: hybrid,
    world: world(pod('web'), pod('bare')),
    given: [led(webSyn), webAnswer],
    when: led(tcp('outside:4000', 'bare:8080', 'S')),
    then: { ...delivered('bare'), translationFlags: [0x21, 0x30] },
  })

  packet(`${name}: two Services lead one client port to one pod: the second waits`, {
    config: hybrid,
    world: here,
    given: [led(webSyn)],
    when: led(webSyn, 'n2:30080'),
    then: dropped('NAT_PORTS'),
  })

  packet(`${name}: policy judges the client`, {
    config: hybrid,
    world: world(
      pod('web', { ingress: ingress('s', allow('client', { class: 'client' }, 'TCP/8080')) }),
      peer('client', Realm.WORLD),
    ),
    when: led(webSyn),
    then: dropped('POLICY_INGRESS', null),
  })

  packet(`${name}: a client that policy names is let in, where nodes are not`, {
    config: hybrid,
    world: world(
      pod('web', {
        ingress: ingress('s', allow('client', { class: 'outside' }, 'TCP/8080'), deny('nodes', { realm: Realm.NODE })),
      }),
      peer('outside', Realm.WORLD),
    ),
    when: led(webSyn),
    then: delivered('web'),
  })

  packet(`${name}: what policy denies is answered from what was asked, if the configuration wants it`, {
    config: { ...hybrid, refuseDenied: 1 },
    world: world(pod('web', { ingress: ingress('default-deny') })),
    when: led(webSyn),
    then: {
      ...refused('POLICY_INGRESS', fresh(tcp('vip:80', 'outside:4000', 'RA'))),
    },
  })

  packet(`${name}: an error about the answer reaches the pod`, {
    config: hybrid,
    world: here,
    given: [led(webSyn), webAnswer],
    when: fromNetdev(between('n2', 'n1', icmpError('packet too big', 'n2', tcp('web:8080', 'outside:4000', 'A')))),
    then: delivered('web'),
  })

  packet(`${name}: pieces of its data find their pod`, {
    config: hybrid,
    world: here,
    given: [
      led(webSyn),
      webAnswer,
      fromNetdev(between('n2', 'n1', firstFragment(tcp('outside:4000', 'web:8080', 'A', { payloadBytes: 44 }), 7))),
    ],
    when: fromNetdev(between('n2', 'n1', laterFragment(tcp('outside:4000', 'web:8080', 'A'), 7))),
    then: delivered('web'),
  })

  packet(`${name}: a pod that has gone`, {
    config: hybrid,
    world: here,
    when: led(tcp('outside:4000', 'vacant:8080', 'S')),
    then: dropped('NO_ENDPOINT'),
  })

  // -- Hostile -----------------------------------------------------------------------------------------------------

  packet(`${name}: from the world`, {
    config: hybrid,
    world: here,
    when: fromNetdev(vxlan('outside', 'n1', webSyn, { asked: 'vip:80' })),
    then: dropped('TUNNEL_SOURCE'),
  })

  packet(`${name}: from this node’s own address`, {
    config: hybrid,
    world: here,
    when: fromNetdev(vxlan('n1', 'n1', webSyn, { asked: 'vip:80' })),
    then: dropped('TUNNEL_SOURCE'),
  })

  packet(`${name}: from a pod here`, {
    config: hybrid,
    world: here,
    when: fromPod('web', vxlan('web', 'n2', tcp('outside:4000', 'away:8080', 'S'), { asked: 'vip:80' })),
    then: dropped('TUNNEL_FORGED'),
  })

  for (const source of ['away', 'other', 'far', 'web', 'n1', 'n2', 'n3', 'shop'])
    packet(`${name}: of a client that is the cluster’s: ${source}`, {
      config: hybrid,
      world: here,
      when: led(tcp(`${source}:4000`, 'web:8080', 'S')),
      then: dropped('TUNNEL_INNER'),
    })

  for (const asked of ['n1:30080', 'web:80', 'away:80', 'shop:80'])
    packet(`${name}: asked of what is the cluster’s here: ${asked}`, {
      config: hybrid,
      world: here,
      when: led(webSyn, asked),
      then: dropped('TUNNEL_INNER'),
    })

  for (const destination of ['n1', 'away', 'n2', 'outside', 'shop'])
    packet(`${name}: to what is no pod of this node: ${destination}`, {
      config: hybrid,
      world: here,
      when: led(tcp('client:4000', `${destination}:8080`, 'S')),
      then: dropped('TUNNEL_INNER'),
    })

  for (const flags of ['A', 'SA', 'R', 'FA'])
    packet(`${name}: that is no first packet: ${flags}`, {
      config: hybrid,
      world: here,
      given: [led(webSyn)],
      when: led(tcp('outside:4000', 'web:8080', flags)),
      then: dropped('TUNNEL_INNER'),
    })

  packet(`${name}: a datagram`, {
    config: hybrid,
    world: here,
    when: led(udp('outside:4000', 'web:8080')),
    then: dropped('TUNNEL_INNER'),
  })

  packet(`${name}: a piece`, {
    config: hybrid,
    world: here,
    when: led(firstFragment(tcp('outside:4000', 'web:8080', 'S', { payloadBytes: 44 }), 7)),
    then: dropped('TUNNEL_INNER'),
  })

  packet(`${name}: what was asked has another family`, {
    config: hybrid,
    world: here,
    when: fromNetdev((family) =>
      vxlan('n2', 'n1', webSyn, { asked: family === 4 ? '[2001:db8:51::10]:80' : '198.51.100.10:80' })(family),
    ),
    then: dropped('TUNNEL_INNER'),
  })

  packet(`${name}: what was asked is cut short`, {
    config: hybrid,
    world: here,
    when: fromNetdev(vxlan('n2', 'n1', () => ({ kind: 'other', etherType: 0x88b5, payloadBytes: 23 }))),
    then: dropped('PARSE'),
  })

  packet(`${name}: it says of the packet that it is of another type`, {
    config: hybrid,
    world: here,
    when: fromNetdev(vxlan('n2', 'n1', frame(0x88b5))),
    then: dropped('PARSE'),
  })

  packet(`${name}: of another virtual network`, {
    config: hybrid,
    world: here,
    when: fromNetdev(vxlan('n2', 'n1', webSyn, { asked: 'vip:80', vni: 2 })),
    then: dropped('PARSE'),
  })
}

packet('vxlan: a client of the world in the tunnel whom nobody has led here', {
  config: tunnelledHybrid,
  world: world(pod('web')),
  when: fromNetdev(vxlan('n2', 'n1', tcp('outside:4000', 'web:8080', 'A'))),
  then: dropped('TUNNEL_INNER'),
})

packet('vxlan: not even its first packet, without what it has asked for', {
  config: tunnelledHybrid,
  world: world(pod('web')),
  given: [led(webSyn)],
  when: fromNetdev(vxlan('n2', 'n1', webSyn)),
  then: dropped('TUNNEL_INNER'),
})

packet('native: nothing else comes in the tunnel', {
  config: nativeHybrid,
  world: world(pod('web')),
  when: fromNetdev(vxlan('n2', 'n1', tcp('away:4000', 'web:8080', 'S'))),
  then: dropped('PARSE'),
})

packet('vxlan without direct return: what was asked is not read', {
  config: tunnelled,
  world: world(pod('web')),
  when: led(webSyn),
  then: dropped('PARSE'),
})

packet('native without direct return: the tunnel’s port is the stack’s', {
  config: config(),
  world: world(pod('web')),
  when: fromNetdev(vxlan('n2', 'n1', webSyn, { asked: 'vip:80' })),
  then: passed(),
})

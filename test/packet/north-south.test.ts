// SPDX-License-Identifier: Apache-2.0
// What clients outside the cluster send to a Service: at a node's address (NodePort) or at one that is routed to the node
// (load balancer, external IP). A backend of this node sees the client; one elsewhere sees this node, and answers it.

import { Protocol } from '../../src/core/protocol.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { Realm } from '../../src/generated/abi.ts'
import { allow, deny, ingress, native, peer, pod, serviceOf, tunnelled, world } from './cluster.ts'
import { type At, delivered, dropped, fromNetdev, fromPod, packet, passed, refused, sent, toNetdev } from './row.ts'
import { firstFragment, fresh, type InFamily, icmpError, laterFragment, tcp, udp, vxlan } from './vocabulary.ts'

/** At the addresses of a Service alike: this node's, and one that nobody has. */
const addresses = [
  ['n1:30080', 'a node port'],
  ['vip:80', 'a load balancer’s address'],
] as const

for (const [at, name] of addresses) {
  const [host] = at.split(':') as ['n1' | 'vip']
  const local = world(pod('web'), serviceOf(at, { backends: ['away:8080'], external: ['web:8080'] }))
  const remote = world(pod('web'), serviceOf(at, { backends: ['web:8080'], external: ['away:8080'] }))
  const syn = fromNetdev(tcp('outside:4000', at, 'S'))

  packet(`${name} leads to a backend of this node, which sees the client`, {
    world: local,
    when: syn,
    then: delivered('web', tcp('outside:4000', 'web:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: the answer comes from it`, {
    world: local,
    given: [syn],
    when: fromPod('web', tcp('web:8080', 'outside:4000', 'SA')),
    then: sent(null, tcp(at, 'outside:4000', 'SA', { hopLimit: 63 })),
  })

  packet(`${name}: the connection goes on`, {
    world: local,
    given: [syn, fromPod('web', tcp('web:8080', 'outside:4000', 'SA'))],
    when: fromNetdev(tcp('outside:4000', at, 'A')),
    then: delivered('web', tcp('outside:4000', 'web:8080', 'A', { hopLimit: 63 })),
  })

  packet(`${name}: policy sees the client, also where the own node would be let in`, {
    world: world(
      pod('web', { ingress: ingress('default-deny') }),
      serviceOf(at, { backends: ['away:8080'], external: ['web:8080'] }),
    ),
    when: syn,
    then: dropped('POLICY_INGRESS', null),
  })

  packet(`${name}: the client whom policy names is let in`, {
    world: world(
      pod('web', { ingress: ingress('s', allow('client', { class: 'outside' }, 'TCP/8080')) }),
      peer('outside', Realm.WORLD),
      serviceOf(at, { external: ['web:8080'] }),
    ),
    when: syn,
    then: delivered('web'),
  })

  packet(`${name}: and only that one`, {
    world: world(
      pod('web', { ingress: ingress('s', allow('client', { class: 'outside' }, 'TCP/8080')) }),
      peer('outside', Realm.WORLD),
      serviceOf(at, { external: ['web:8080'] }),
    ),
    when: fromNetdev(tcp('client:4000', at, 'S')),
    then: dropped('POLICY_INGRESS', null),
  })

  packet(`${name} leads to a backend elsewhere, which sees this node`, {
    world: remote,
    when: fromNetdev(tcp('outside:40000', at, 'S')),
    then: sent('n2', tcp('n1:40000', 'away:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: a port below the range is another one of this node`, {
    world: remote,
    when: syn,
    then: { verdict: 'redirect', ifindex: 10 },
  })

  packet(`${name}: in the tunnel`, {
    config: tunnelled,
    world: remote,
    when: fromNetdev(tcp('outside:40000', at, 'S')),
    then: { verdict: 'redirect', tunnel: true },
  })

  packet(`${name}: the answer of a backend elsewhere comes from it`, {
    world: remote,
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(tcp('away:8080', 'n1:40000', 'SA')),
    then: sent(null, tcp(at, 'outside:40000', 'SA', { hopLimit: 63 })),
  })

  packet(`${name}: also out of the tunnel`, {
    config: tunnelled,
    world: remote,
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(vxlan('n2', 'n1', tcp('away:8080', 'n1:40000', 'SA'))),
    then: sent(null, tcp(at, 'outside:40000', 'SA', { hopLimit: 63 })),
  })

  packet(`${name}: two clients with one port do not share it at a backend elsewhere`, {
    world: remote,
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(tcp('client:40000', at, 'S')),
    then: { verdict: 'redirect', ifindex: 10 },
  })

  packet(`${name}: no port is left towards the backend`, {
    config: { ...native, natPortMin: 40000, natPortMax: 40000 },
    world: remote,
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(tcp('client:40000', at, 'S')),
    then: dropped('NAT_PORTS'),
  })

  packet(`${name} leads to a process of this node`, {
    world: world(serviceOf(at, { external: ['n1:6443'] })),
    when: syn,
    then: passed(tcp('outside:4000', 'n1:6443', 'S')),
  })

  packet(`${name}: the answer of a process of this node`, {
    world: world(serviceOf(at, { external: ['n1:6443'] })),
    given: [syn],
    when: toNetdev(tcp('n1:6443', 'outside:4000', 'SA')),
    then: passed(tcp(at, 'outside:4000', 'SA')),
  })

  packet(`${name} leads to a process of another node`, {
    world: world(serviceOf(at, { external: ['n2:6443'] })),
    when: fromNetdev(tcp('outside:40000', at, 'S')),
    then: { verdict: 'redirect', ifindex: 10 },
  })

  packet(`${name}: the answer of a process of another node`, {
    world: world(serviceOf(at, { external: ['n2:6443'] })),
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(tcp('n2:6443', 'n1:40000', 'SA')),
    then: sent(null, tcp(at, 'outside:40000', 'SA', { hopLimit: 63 })),
  })

  packet(`${name} leads to the world`, {
    world: world(serviceOf(at, { external: ['client:8080'] })),
    when: fromNetdev(tcp('outside:40000', at, 'S')),
    then: sent(null, tcp('n1:40000', 'client:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: without endpoints it resets a connection`, {
    world: world(serviceOf(at, { backends: ['web:8080'], external: [] })),
    when: syn,
    then: refused('NO_BACKEND', fresh(tcp(at, 'outside:4000', 'RA'))),
  })

  packet(`${name}: without endpoints it says so to a datagram`, {
    world: world(serviceOf(at, { protocol: Protocol.UDP, external: [] })),
    when: fromNetdev(udp('outside:4000', at, { payloadBytes: 300 })),
    then: refused(
      'NO_BACKEND',
      fresh(icmpError('port unreachable', host, udp('outside:4000', at, { payloadBytes: 0 }))),
    ),
  })

  packet(`${name}: a pod of another node, too, is led by what holds for those beyond this one`, {
    world: local,
    when: fromNetdev(tcp('away:4000', at, 'S')),
    then: delivered('web', tcp('away:4000', 'web:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: traffic policy Local without endpoints here drops what a pod of another node sends`, {
    world: world(serviceOf(at, { backends: ['other:8080'], external: [], local: 'external' })),
    when: fromNetdev(tcp('away:4000', at, 'S')),
    then: dropped('NO_LOCAL_BACKEND'),
  })

  packet(`${name}: traffic policy Local without endpoints here drops in silence`, {
    world: world(serviceOf(at, { backends: ['away:8080'], external: [], local: 'external' })),
    when: syn,
    then: dropped('NO_LOCAL_BACKEND'),
  })

  packet(`${name}: a client beyond the source ranges is dropped`, {
    world: world(pod('web'), serviceOf(at, { external: ['web:8080'], ranges: ['client'] })),
    when: syn,
    then: dropped('SOURCE_RANGE'),
  })

  packet(`${name}: one within is served`, {
    world: world(pod('web'), serviceOf(at, { external: ['web:8080'], ranges: ['client', 'outside'] })),
    when: syn,
    then: delivered('web'),
  })

  for (const config of [native, tunnelled]) {
    const answer = (inner: InFamily<IpPacket>): At => fromNetdev(config === native ? inner : vxlan('n2', 'n1', inner))
    const established = [fromNetdev(tcp('outside:40000', at, 'S')), answer(tcp('away:8080', 'n1:40000', 'SA'))]
    const mode = config === native ? 'native' : 'vxlan'

    packet(`${name}, ${mode}: a hop limit that is used up is told the client`, {
      config,
      world: remote,
      given: established,
      when: fromNetdev(tcp('outside:40000', at, 'A', { hopLimit: 1 })),
      then: refused(
        'HOP_LIMIT',
        fresh(icmpError('time exceeded', host, tcp('outside:40000', at, 'A', { hopLimit: 1, payloadBytes: 0 }))),
      ),
    })

    packet(`${name}, ${mode}: an error about the answer, from a router of the world, reaches the backend`, {
      config,
      world: remote,
      given: established,
      when: fromNetdev(icmpError('packet too big', 'client', tcp(at, 'outside:40000', 'A'))),
      then: { verdict: 'redirect', ifindex: 10 },
    })

    packet(`${name}, ${mode}: an error of the backend reaches the client`, {
      config,
      world: remote,
      given: established,
      when: answer(icmpError('port unreachable', 'away', tcp('n1:40000', 'away:8080', 'A'))),
      then: sent(null, icmpError('port unreachable', host, tcp('outside:40000', at, 'A'), { hopLimit: 63 })),
    })
  }

  packet(`${name}: what the tunnel cannot carry to the backend is told the client, however many errors were sent`, {
    config: tunnelled,
    isAnswerLimited: true,
    world: remote,
    given: [fromNetdev(tcp('outside:40000', at, 'S'))],
    when: fromNetdev(tcp('outside:40000', at, 'A', { payloadBytes: 1420 })),
    then: {
      verdict: 'drop',
      reason: 'TOO_LARGE',
      answer: (family) => {
        const overhead = family === 4 ? 50 : 70
        const quoted = tcp('outside:40000', at, 'A', { payloadBytes: 0 })
        const told = fresh(icmpError('packet too big', host, quoted))(family)
        return { ...told, transport: { ...told.transport, word: 1500 - overhead } as IpPacket['transport'] }
      },
    },
  })

  packet(`${name}: an error about the answer of a backend here reaches it`, {
    world: local,
    given: [syn, fromPod('web', tcp('web:8080', 'outside:4000', 'SA'))],
    when: fromNetdev(icmpError('packet too big', 'client', tcp(at, 'outside:4000', 'A'))),
    then: delivered(
      'web',
      icmpError('packet too big', 'client', tcp('web:8080', 'outside:4000', 'A'), { hopLimit: 63 }),
    ),
  })

  packet(`${name}: the first piece of a datagram goes to the backend`, {
    world: world(serviceOf(at, { protocol: Protocol.UDP, external: ['away:8080'] })),
    when: fromNetdev(firstFragment(udp('outside:40000', at), 7)),
    then: sent('n2', firstFragment(udp('n1:40000', 'away:8080', { hopLimit: 63 }), 7)),
  })

  packet(`${name}: and so does the next one`, {
    world: world(serviceOf(at, { protocol: Protocol.UDP, external: ['away:8080'] })),
    given: [fromNetdev(firstFragment(udp('outside:40000', at), 7))],
    when: fromNetdev(laterFragment(udp('outside:40000', at), 7)),
    then: sent('n2', laterFragment(udp('n1:40000', 'away:8080', { hopLimit: 63 }), 7)),
  })

  packet(`${name}: a pod of another node is answered in the tunnel it came by`, {
    config: tunnelled,
    world: world(serviceOf(at, { backends: ['web:8080'], external: [] })),
    when: fromNetdev(vxlan('n2', 'n1', tcp('other:4000', at, 'S'))),
    then: refused('NO_BACKEND', fresh(vxlan('n1', 'n2', fresh(tcp(at, 'other:4000', 'RA')), { sourcePort: 0 }))),
  })

  packet(`${name}: another node is a client outside`, {
    world: world(pod('web'), serviceOf(at, { backends: ['away:8080'], external: ['web:8080'] })),
    when: fromNetdev(tcp('n2:4000', at, 'S')),
    then: delivered('web', tcp('n2:4000', 'web:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${name}: by UDP as well`, {
    world: world(pod('web'), serviceOf(at, { protocol: Protocol.UDP, external: ['web:8080'] })),
    when: fromNetdev(udp('n2:4000', at)),
    then: delivered('web', udp('n2:4000', 'web:8080', { hopLimit: 63 })),
  })

  packet(`${name}: the answer of a process of this node to another node`, {
    world: world(serviceOf(at, { external: ['n1:6443'] })),
    given: [fromNetdev(tcp('n2:4000', at, 'S'))],
    when: toNetdev(tcp('n1:6443', 'n2:4000', 'SA')),
    then: sent('n2', tcp(at, 'n2:4000', 'SA')),
  })

  packet(`${name}: by UDP, other nodes too`, {
    world: world(pod('web'), serviceOf(at, { protocol: Protocol.UDP, external: ['away:8080'] })),
    when: fromNetdev(udp('n3:40000', at)),
    then: sent('n2', udp('n1:40000', 'away:8080', { hopLimit: 63 })),
  })

  packet(`${name}: the answer to another node`, {
    world: world(pod('web'), serviceOf(at, { external: ['web:8080'] })),
    given: [fromNetdev(tcp('n2:4000', at, 'S'))],
    when: fromPod('web', tcp('web:8080', 'n2:4000', 'SA')),
    then: sent('n2', tcp(at, 'n2:4000', 'SA', { hopLimit: 63 })),
  })
}

const ssh = world(pod('web'), serviceOf('n1:30080', { external: ['web:8080'] }))

packet('a port of the node that is no Service’s is the stack’s', {
  world: ssh,
  when: fromNetdev(tcp('outside:4000', 'n1:22', 'S')),
  then: passed(tcp('outside:4000', 'n1:22', 'S')),
})

packet('so is the port by another protocol', {
  world: ssh,
  when: fromNetdev(udp('outside:4000', 'n1:30080')),
  then: passed(udp('outside:4000', 'n1:30080')),
})

packet('a node port belongs to no connection that has not been opened: the stack resets it', {
  world: ssh,
  when: fromNetdev(tcp('outside:4000', 'n1:30080', 'A')),
  then: passed(tcp('outside:4000', 'n1:30080', 'A')),
})

packet('another port of a load balancer’s address is the stack’s to forward', {
  world: world(pod('web'), serviceOf('vip:80', { external: ['web:8080'] })),
  when: fromNetdev(tcp('outside:4000', 'vip:81', 'S')),
  then: passed(tcp('outside:4000', 'vip:81', 'S')),
})

packet('a cluster IP is not for the world', {
  world: world(pod('web'), serviceOf('shop:80', { backends: ['web:8080'] })),
  when: fromNetdev(tcp('outside:4000', 'shop:80', 'S')),
  then: dropped('NO_FRONTEND'),
})

packet('two Services at one client port lead to one backend: the second gets another port and keeps the client', {
  world: world(
    pod('web'),
    serviceOf('n1:30080', { external: ['web:8080'] }),
    serviceOf('vip:80', { external: ['web:8080'] }),
  ),
  given: [fromNetdev(tcp('outside:4000', 'n1:30080', 'S'))],
  when: fromNetdev(tcp('outside:4000', 'vip:80', 'S')),
  then: delivered('web'),
})

packet('a source that must not be bare asks for no Service', {
  world: ssh,
  when: fromNetdev(tcp('web:4000', 'n1:30080', 'S')),
  then: dropped('BARE_SOURCE'),
})

packet('a pod’s source outside the tunnel asks for none either', {
  config: tunnelled,
  world: ssh,
  when: fromNetdev(tcp('away:4000', 'n1:30080', 'S')),
  then: dropped('BARE_SOURCE'),
})

packet('policy denies a client that another one of the same port is', {
  world: world(
    pod('web', { ingress: ingress('s', deny('world', { realm: Realm.WORLD })) }),
    serviceOf('n1:30080', { external: ['web:8080'] }),
  ),
  when: fromNetdev(tcp('client:4000', 'n1:30080', 'S')),
  then: dropped('POLICY_INGRESS', 'world'),
})

packet('the next connection from a client’s port gets a backend that is listed now', {
  world: ssh,
  given: [
    fromNetdev(tcp('outside:4000', 'n1:30080', 'S')),
    fromPod('web', tcp('web:8080', 'outside:4000', 'SA')),
    fromNetdev(tcp('outside:4000', 'n1:30080', 'RA')),
  ],
  changed: world(pod('web'), pod('bare'), serviceOf('n1:30080', { external: ['bare:8080'] })),
  when: fromNetdev(tcp('outside:4000', 'n1:30080', 'S')),
  then: delivered('bare', tcp('outside:4000', 'bare:8080', 'S', { hopLimit: 63 })),
})

packet('a process of this node that speaks to the backend from a client’s port gets another one', {
  world: world(serviceOf('n1:30080', { external: ['away:8080'] })),
  given: [fromNetdev(tcp('outside:40000', 'n1:30080', 'S'))],
  when: toNetdev(tcp('n1:40000', 'away:8080', 'S')),
  then: { verdict: 'redirect', ifindex: 10 },
})

packet('any other process of this node speaks from its own', {
  world: world(serviceOf('n1:30080', { external: ['away:8080'] })),
  given: [fromNetdev(tcp('outside:40000', 'n1:30080', 'S'))],
  when: toNetdev(tcp('n1:40001', 'away:8080', 'S')),
  then: passed(tcp('n1:40001', 'away:8080', 'S')),
})

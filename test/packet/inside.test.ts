// SPDX-License-Identifier: Apache-2.0
// What pods and processes of this node send to a Service's external addresses, by packets that the socket hooks missed;
// traffic policy Local inside the cluster; ports that a Service does not have.

import { Protocol } from '../../src/core/protocol.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { native, pod, serviceAddress, serviceOf, tunnelled, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, passed, refused, sent, toNetdev } from './row.ts'
import { echoRequest, fresh, type InFamily, icmpError, tcp, udp, vxlan } from './vocabulary.ts'

for (const at of ['n1:30080', 'vip:80', 'shop:80']) {
  const here = world(
    pod('cart'),
    pod('web'),
    serviceOf(at, { backends: ['web:8080'], external: [], local: 'external' }),
  )
  const elsewhere = world(pod('cart'), serviceOf(at, { backends: ['away:8080'], external: [], local: 'external' }))

  packet(`${at}: a pod is led to the cluster's backends, whatever policy clients outside have`, {
    world: elsewhere,
    when: fromPod('cart', tcp('cart:4000', at, 'S')),
    then: sent('n2', tcp('cart:4000', 'away:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${at}: the answer to a pod`, {
    world: elsewhere,
    given: [fromPod('cart', tcp('cart:4000', at, 'S'))],
    when: fromNetdev(tcp('away:8080', 'cart:4000', 'SA')),
    then: delivered('cart', tcp(at, 'cart:4000', 'SA', { hopLimit: 63 })),
  })

  packet(`${at}: a pod that is its own backend`, {
    world: here,
    when: fromPod('web', tcp('web:4000', at, 'S')),
    then: delivered('web', tcp(`${at.split(':')[0]}:4000`, 'web:8080', 'S', { hopLimit: 63 })),
  })

  packet(`${at}: its answer to itself`, {
    world: here,
    given: [fromPod('web', tcp('web:4000', at, 'S'))],
    when: fromPod('web', tcp('web:8080', `${at.split(':')[0]}:4000`, 'SA')),
    then: delivered('web', tcp(at, 'web:4000', 'SA', { hopLimit: 63 })),
  })

  packet(`${at}: a pod beyond the source ranges`, {
    world: world(pod('cart'), pod('web'), serviceOf(at, { backends: ['web:8080'], ranges: ['client'] })),
    when: fromPod('cart', tcp('cart:4000', at, 'S')),
    then: dropped('SOURCE_RANGE'),
  })

  packet(`${at}: traffic policy Local inside drops in silence where this node has no endpoint`, {
    world: world(pod('cart'), serviceOf(at, { backends: [], local: 'internal' })),
    when: fromPod('cart', tcp('cart:4000', at, 'S')),
    then: dropped('NO_LOCAL_BACKEND'),
  })
}

packet('a process of the node, missed by its socket hook, is led to the cluster’s backends', {
  world: world(serviceOf('vip:80', { backends: ['away:8080'], external: [], local: 'external' })),
  when: toNetdev(tcp('n1:4000', 'vip:80', 'S')),
  then: sent('n2', tcp('n1:4000', 'away:8080', 'S')),
})

packet('a process of the node beyond the source ranges', {
  world: world(serviceOf('vip:80', { backends: ['away:8080'], ranges: ['client'] })),
  when: toNetdev(tcp('n1:4000', 'vip:80', 'S')),
  then: dropped('SOURCE_RANGE'),
})

packet('a Service without endpoints resets what the socket hook of a process missed', {
  world: world(serviceOf('shop:80', {})),
  when: toNetdev(tcp('n1:4000', 'shop:80', 'S')),
  then: refused('NO_BACKEND', fresh(tcp('shop:80', 'n1:4000', 'RA'))),
})

packet('and says so to its datagram', {
  world: world(serviceOf('shop:53', { protocol: Protocol.UDP })),
  when: toNetdev(udp('n1:4000', 'shop:53', { payloadBytes: 40 })),
  then: refused(
    'NO_BACKEND',
    fresh(icmpError('port unreachable', 'shop', udp('n1:4000', 'shop:53', { payloadBytes: 0 }))),
  ),
})

packet('that answer, on its way back to the stack, is let in', {
  world: world(serviceOf('shop:80', {})),
  when: { ...fromNetdev(tcp('shop:80', 'n1:4000', 'RA')), mark: 0x4845444c },
  then: passed(tcp('shop:80', 'n1:4000', 'RA')),
})

packet('the same from the network is not', {
  world: world(serviceOf('shop:80', {})),
  when: fromNetdev(tcp('shop:80', 'n1:4000', 'RA')),
  then: dropped('BARE_SOURCE'),
})

// -- Ports that a Service does not have ----------------------------------------------------------------------------

const shop = world(pod('cart'), pod('web'), serviceAddress('shop'), serviceOf('shop:80', { backends: ['web:8080'] }))

packet('a port that a cluster IP does not have is reset', {
  world: shop,
  when: fromPod('cart', tcp('cart:4000', 'shop:81', 'S')),
  then: refused('NO_PORT', fresh(tcp('shop:81', 'cart:4000', 'RA'))),
})

packet('a datagram to such a port hears of it', {
  world: shop,
  when: fromPod('cart', udp('cart:4000', 'shop:80', { payloadBytes: 0 })),
  then: refused(
    'NO_PORT',
    fresh(icmpError('port unreachable', 'shop', udp('cart:4000', 'shop:80', { payloadBytes: 0 }))),
  ),
})

packet('so does a process of the node', {
  world: shop,
  when: toNetdev(tcp('n1:4000', 'shop:81', 'S')),
  then: refused('NO_PORT', fresh(tcp('shop:81', 'n1:4000', 'RA'))),
})

packet('a port that it has is not affected', {
  world: shop,
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'S')),
  then: delivered('web'),
})

packet('an address of the Service range that is no Service’s stays silent', {
  world: shop,
  when: fromPod('cart', tcp('cart:4000', 'nothing:80', 'S')),
  then: dropped('NO_FRONTEND'),
})

packet('a cluster IP does not answer pings', {
  world: shop,
  when: fromPod('cart', echoRequest('cart', 'shop', 5)),
  then: dropped('NO_PORT'),
})

// -- Another node's address ----------------------------------------------------------------------------------------

for (const config of [native, tunnelled]) {
  const mode = config === native ? 'native' : 'vxlan'
  const into = (inner: InFamily<IpPacket>) => fromNetdev(config === native ? inner : vxlan('n2', 'n1', inner))

  packet(`${mode}: a pod of another node reaches a backend of a third by this node`, {
    config,
    world: world(serviceOf('n1:30080', { backends: ['far:8080'] })),
    when: into(tcp('other:40000', 'n1:30080', 'S')),
    then: { verdict: 'redirect', ifindex: 10 },
  })

  packet(`${mode}: the answer of the third goes back to the pod`, {
    config,
    world: world(serviceOf('n1:30080', { backends: ['far:8080'] })),
    given: [into(tcp('other:40000', 'n1:30080', 'S'))],
    when: fromNetdev(
      config === native ? tcp('far:8080', 'n1:40000', 'SA') : vxlan('n3', 'n1', tcp('far:8080', 'n1:40000', 'SA')),
    ),
    then: { verdict: 'redirect', ifindex: 10 },
  })

  packet(`${mode}: a pod of another node that is its own backend by this node's address`, {
    config,
    world: world(serviceOf('n1:30080', { backends: ['other:8080'] })),
    given: [into(tcp('other:40000', 'n1:30080', 'S'))],
    when: into(tcp('other:8080', 'n1:40000', 'SA')),
    then: { verdict: 'redirect', ifindex: 10 },
  })
}

// SPDX-License-Identifier: Apache-2.0
// How long a silent flow is remembered: TCP 60 s before its first answer and 6 h after, everything else 120 s.

import { allow, egress, ingress, pod, world } from './cluster.ts'
import { flowOf } from './flow.ts'
import { delivered, dropped, fromNetdev, packet } from './row.ts'
import { echoReply, echoRequest, tcp, udp } from './vocabulary.ts'

const closed = world(pod('cart', { egress: egress('nothing'), ingress: ingress('default-deny') }))
const handshake = tcp('away:80', 'cart:4000', 'SA')
const data = tcp('away:80', 'cart:4000', 'A')
const request = tcp('cart:4000', 'away:80', 'S')

for (const [what, table, opener, answer, limitSeconds] of [
  ['a TCP handshake', 'flows_opening', request, handshake, 60],
  ['an established TCP flow', 'flows', request, data, 6 * 3600],
  ['an unanswered UDP flow', 'flows_opening', udp('cart:4000', 'away:53'), udp('away:53', 'cart:4000'), 120],
  ['an answered UDP flow', 'flows', udp('cart:4000', 'away:53'), udp('away:53', 'cart:4000'), 120],
  ['a ping', 'flows', echoRequest('cart', 'away', 5), echoReply('away', 'cart', 5), 120],
] as const) {
  packet(`${what} is remembered short of its limit`, {
    world: closed,
    state: flowOf(table, opener, limitSeconds - 30),
    when: fromNetdev(answer),
    then: delivered('cart'),
  })

  packet(`${what} is forgotten beyond its limit`, {
    world: closed,
    state: flowOf(table, opener, limitSeconds + 1),
    when: fromNetdev(answer),
    then: { verdict: 'drop' },
  })
}

packet('a forgotten flow may be judged anew and allowed', {
  world: world(pod('cart', { ingress: ingress('s', allow('all', 'any')) })),
  state: flowOf('flows', udp('cart:4000', 'away:53'), 200),
  when: fromNetdev(udp('away:53', 'cart:4000')),
  then: delivered('cart'),
})

packet('an old epoch and a denial leave the flow to be judged again', {
  world: { ...closed, policy_epoch: [[0, { epoch: 9 }]] },
  state: flowOf('flows', request, 5),
  when: fromNetdev(data),
  then: dropped('POLICY_EGRESS', null),
})

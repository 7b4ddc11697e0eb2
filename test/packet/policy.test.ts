// SPDX-License-Identifier: Apache-2.0
// What NetworkPolicy tables decide: levels class, realm, any; nested prefixes over (protocol, port); both directions
// at the hook that this node owns; the rule that decided is named.

import { Realm } from '../../src/generated/abi.ts'
import { allow, audit, deny, egress, epoch, ingress, peer, pod, service, UPLINK, unknownL7, world } from './cluster.ts'
import { audited, delivered, dropped, fromNetdev, fromPod, packet, passed, sent, toPod } from './row.ts'
import { echoRequest, opaque, tcp, udp } from './vocabulary.ts'

const cart = { class: 'cart' }
const away = { class: 'away' }
const anyPod = { realm: Realm.POD }

packet('a pod that no policy selects may be reached by anyone', {
  world: world(pod('web')),
  when: fromNetdev(tcp('outside:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('a pod whose ingress is isolated without rules is reached by nobody', {
  world: world(pod('web', { ingress: ingress('default-deny') })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a pod whose egress is isolated without rules reaches nobody', {
  world: world(pod('cart', { egress: egress('default-deny') })),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: dropped('POLICY_EGRESS', null),
})

packet('a rule for a peer class and port allows them', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('away-80', away, 'TCP/80')) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('a rule for a peer class does not allow another port', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('away-80', away, 'TCP/80')) })),
  when: fromNetdev(tcp('away:4000', 'web:81', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a rule for a peer class does not allow another protocol', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('away-80', away, 'TCP/80')) })),
  when: fromNetdev(udp('away:4000', 'web:80')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a rule for a peer class does not allow another peer', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('away-80', away, 'TCP/80')) })),
  when: fromNetdev(tcp('other:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('a denied packet names the rule that denied', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('all', 'any'), deny('not-away', away)) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'not-away'),
})

packet('the class level decides before realm and any', {
  world: world(
    peer('away'),
    pod('web', { ingress: ingress('s', deny('any', 'any'), deny('pods', anyPod), allow('away', away)) }),
  ),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('the realm level decides before any', {
  world: world(pod('web', { ingress: ingress('s', allow('any', 'any'), deny('pods', anyPod)) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'pods'),
})

packet('a level without a match leaves the decision to the next', {
  world: world(
    peer('away'),
    pod('web', { ingress: ingress('s', deny('udp', away, 'UDP'), deny('81', anyPod, 'TCP/81'), allow('any', 'any')) }),
  ),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('the world is a realm of its own', {
  world: world(pod('web', { ingress: ingress('s', allow('any', 'any'), deny('world', { realm: Realm.WORLD })) })),
  when: fromNetdev(tcp('outside:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'world'),
})

packet("another node's address is of realm node", {
  world: world(pod('web', { ingress: ingress('s', allow('any', 'any'), deny('nodes', { realm: Realm.NODE })) })),
  when: fromNetdev(tcp('n2:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'nodes'),
})

packet('the longest port prefix decides', {
  world: world(
    pod('web', { ingress: ingress('s', allow('all', 'any', 'TCP'), deny('range', 'any', 'TCP/8080-8087')) }),
  ),
  when: fromNetdev(tcp('away:4000', 'web:8085', 'S')),
  then: dropped('POLICY_INGRESS', 'range'),
})

packet('a port just outside a port prefix is not in it', {
  world: world(
    pod('web', { ingress: ingress('s', allow('all', 'any', 'TCP'), deny('range', 'any', 'TCP/8080-8087')) }),
  ),
  when: fromNetdev(tcp('away:4000', 'web:8088', 'S')),
  then: delivered('web'),
})

packet('one port inside a denied range may be allowed', {
  world: world(
    pod('web', { ingress: ingress('s', deny('range', 'any', 'TCP/8080-8087'), allow('one', 'any', 'TCP/8085')) }),
  ),
  when: fromNetdev(tcp('away:4000', 'web:8085', 'S')),
  then: delivered('web'),
})

packet('a rule without protocol allows every protocol', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('away', away)) })),
  when: fromNetdev(opaque('away', 'web', 47)),
  then: delivered('web'),
})

packet('ping is judged by type and code', {
  world: world(
    pod('web', {
      ingress: ingress('s', allow('echo4', 'any', `ICMP/${8 << 8}`), allow('echo6', 'any', `ICMPv6/${128 << 8}`)),
    }),
  ),
  when: fromNetdev(echoRequest('away', 'web', 5)),
  then: delivered('web'),
})

packet('ping that no rule names is denied', {
  world: world(pod('web', { ingress: ingress('s', allow('tcp', 'any', 'TCP')) })),
  when: fromNetdev(echoRequest('away', 'web', 5)),
  then: dropped('POLICY_INGRESS', null),
})

packet('an entry with an l7 that the program does not know denies', {
  world: world(pod('web', { ingress: ingress('s', unknownL7('http', 'any', 'TCP/80')) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'http'),
})

packet('a level that the set does not use is not looked up', {
  world: world(peer('away'), pod('web', { ingress: { ...ingress('s', allow('away', away)), levels: 0 } })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('between two local pods the egress of the sender is judged', {
  world: world(pod('cart', { egress: egress('e', deny('no-web', 'any', 'TCP/80')) }), pod('web')),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('POLICY_EGRESS', 'no-web'),
})

packet('between two local pods the ingress of the receiver is judged too', {
  world: world(peer('cart'), pod('cart'), pod('web', { ingress: ingress('s', deny('no-cart', cart)) })),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'no-cart'),
})

packet('where both directions deny, egress is named', {
  world: world(pod('cart', { egress: egress('e') }), pod('web', { ingress: ingress('s', deny('no', 'any')) })),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('POLICY_EGRESS', null),
})

packet('between two local pods both directions may allow', {
  world: world(
    peer('cart'),
    pod('cart', { egress: egress('e', allow('web', anyPod, 'TCP/80')) }),
    pod('web', { ingress: ingress('s', allow('cart', cart, 'TCP/80')) }),
  ),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: delivered('web'),
})

packet('egress to the outside is judged by the world', {
  world: world(pod('cart', { egress: egress('e', allow('pods', anyPod)) })),
  when: fromPod('cart', tcp('cart:4000', 'outside:443', 'S')),
  then: dropped('POLICY_EGRESS', null),
})

packet('egress to an allowed pod of another node passes', {
  world: world(peer('away'), pod('cart', { egress: egress('e', allow('away', away, 'TCP/80')) })),
  when: fromPod('cart', tcp('cart:4000', 'away:80', 'S')),
  then: sent('n2'),
})

packet('egress to the own node is judged', {
  world: world(pod('cart', { egress: egress('e', allow('pods', anyPod)) })),
  when: fromPod('cart', tcp('cart:4000', 'n1:10250', 'S')),
  then: dropped('POLICY_EGRESS', null),
})

packet('the own node reaches a pod whose ingress is denied to all', {
  world: world(pod('web', { ingress: ingress('default-deny') })),
  when: toPod('web', tcp('n1:4000', 'web:80', 'S')),
  then: passed(),
})

packet('what the stack forwards to a pod from elsewhere is judged', {
  world: world(pod('web', { ingress: ingress('default-deny') })),
  when: toPod('web', tcp('outside:4000', 'web:80', 'S'), 10),
  then: dropped('POLICY_INGRESS', null),
})

packet('a pod whose policy is not known yet sends nothing', {
  world: world(pod('cart', { isolated: true }), pod('web')),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('NOT_READY'),
})

packet('a pod whose policy is not known yet receives nothing from a local pod', {
  world: world(pod('cart'), pod('web', { isolated: true })),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('NOT_READY'),
})

packet('a pod whose policy is not known yet receives nothing from the network', {
  world: world(pod('web', { isolated: true })),
  when: fromNetdev(udp('away:4000', 'web:80')),
  then: dropped('NOT_READY'),
})

packet('a pod whose policy is not known yet is reached by its own node', {
  world: world(pod('web', { isolated: true })),
  when: toPod('web', tcp('n1:4000', 'web:80', 'S')),
  then: passed(),
})

// -- Audit: allowed, and told ------------------------------------------------------------------------------------------

packet('what an audited rule would deny passes and is told', {
  world: world(peer('away'), pod('web', { ingress: ingress('s', allow('all', 'any'), audit('not-away', away)) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: audited(delivered('web'), 'INGRESS', 'not-away'),
})

packet('what audited policies would isolate passes and is told', {
  world: world(pod('web', { ingress: ingress('s', audit(null, 'any')) })),
  when: fromNetdev(udp('away:4000', 'web:80')),
  then: audited(delivered('web'), 'INGRESS', null),
})

packet('what the node forwards to a pod is told as well', {
  world: world(pod('web', { ingress: ingress('s', audit(null, 'any')) })),
  when: toPod('web', tcp('away:4000', 'web:80', 'S'), UPLINK),
  then: audited(passed(), 'INGRESS', null),
})

packet('the packets of a flow that has begun are not told again', {
  world: world(pod('web', { ingress: ingress('s', audit(null, 'any')) })),
  given: [fromNetdev(tcp('away:4000', 'web:80', 'S')), fromPod('web', tcp('web:80', 'away:4000', 'SA'))],
  when: fromNetdev(tcp('away:4000', 'web:80', 'A')),
  then: delivered('web'),
})

packet('a flow that began before is told when it is judged again', {
  world: world(pod('web')),
  given: [fromNetdev(tcp('away:4000', 'web:80', 'S')), fromPod('web', tcp('web:80', 'away:4000', 'SA'))],
  changed: world(pod('web', { ingress: ingress('s', audit(null, 'any')) }), epoch(8)),
  when: fromNetdev(tcp('away:4000', 'web:80', 'A')),
  then: audited(delivered('web'), 'INGRESS', null),
})

packet('where audited policies would deny both directions, egress is told', {
  world: world(
    pod('cart', { egress: egress('e', audit('no-web', anyPod)) }),
    pod('web', { ingress: ingress('s', audit('no', 'any')) }),
  ),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: audited(delivered('web'), 'EGRESS', 'no-web'),
})

packet('what is denied is not told as audited too', {
  world: world(pod('cart', { egress: egress('e', audit(null, 'any')) }), pod('web', { ingress: ingress('s') })),
  when: fromPod('cart', tcp('cart:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', null),
})

packet('an audited egress to a Service is judged and told by its backend', {
  world: world(
    pod('cart', { egress: egress('e', audit('no-web', anyPod)) }),
    pod('web'),
    service('shop:80', 'web:8080'),
  ),
  when: fromPod('cart', tcp('cart:4000', 'shop:80', 'S')),
  then: audited(delivered('web'), 'EGRESS', 'no-web'),
})

packet('an answer whose flow is not known is no audited connection where its flow is allowed', {
  world: world(
    peer('away'),
    pod('cart', { ingress: ingress('s', audit(null, 'any')), egress: egress('e', allow('away', away)) }),
  ),
  when: fromNetdev(tcp('away:80', 'cart:4000', 'A')),
  then: delivered('cart'),
})

packet('a packet whose flow is not known is told where both orientations are audited', {
  world: world(pod('cart', { ingress: ingress('s', audit('in', 'any')), egress: egress('e', audit('out', 'any')) })),
  when: fromNetdev(tcp('away:80', 'cart:4000', 'A')),
  then: audited(delivered('cart'), 'INGRESS', 'in'),
})

packet('an answer whose flow is denied but audited the other way passes and is told', {
  world: world(pod('cart', { ingress: ingress('s'), egress: egress('e', audit('out', 'any')) })),
  when: fromNetdev(tcp('away:80', 'cart:4000', 'A')),
  then: audited(delivered('cart'), 'EGRESS', 'out'),
})

packet('an entry that denies denies, whatever its flags', {
  world: world(pod('web', { ingress: ingress('s', unknownL7('http', 'any', 'TCP/80')) })),
  when: fromNetdev(tcp('away:4000', 'web:80', 'S')),
  then: dropped('POLICY_INGRESS', 'http'),
})

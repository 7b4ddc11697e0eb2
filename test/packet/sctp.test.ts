// SPDX-License-Identifier: Apache-2.0
// SCTP to Services: where a port changes its CRC32c follows, whatever is in the packet. The rows compare with a checksum
// that is computed bit by bit (test/support/crc32c.ts).

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Protocol } from '../../src/core/protocol.ts'
import { crc32c } from '../support/crc32c.ts'
import { config, pod, serviceOf, tunnelled, world } from './cluster.ts'
import { delivered, dropped, fromNetdev, fromPod, packet, sent, toNetdev } from './row.ts'
import { firstFragment, type InFamily, icmpError, laterFragment, sctp } from './vocabulary.ts'

const of = (at: string, backend: string) =>
  world(pod('cart'), pod('web'), serviceOf(at, { protocol: Protocol.SCTP, backends: [backend], external: [backend] }))

/** Every number of bytes up to 40, and others that lie apart. */
const lengths = [...Array.from({ length: 41 }, (_, bytes) => bytes), 240, 243, 244, 245, 500, 1000, 1427]

for (const payloadBytes of lengths) {
  packet(`a cluster IP: the checksum follows the port, ${payloadBytes} bytes`, {
    world: of('shop:80', 'web:36412'),
    when: fromPod('cart', sctp('cart:4000', 'shop:80', { payloadBytes })),
    then: delivered('web', sctp('cart:4000', 'web:36412', { payloadBytes, hopLimit: 63 })),
  })
}

packet('the answer comes from the Service', {
  world: of('shop:80', 'web:36412'),
  given: [fromPod('cart', sctp('cart:4000', 'shop:80'))],
  when: fromPod('web', sctp('web:36412', 'cart:4000')),
  then: delivered('cart', sctp('shop:80', 'cart:4000', { hopLimit: 63 })),
})

packet('a port that stays is left alone', {
  world: of('shop:80', 'web:80'),
  when: fromPod('cart', sctp('cart:4000', 'shop:80')),
  then: delivered('web', sctp('cart:4000', 'web:80', { hopLimit: 63 })),
})

for (const each of [config(), tunnelled]) {
  const name = each === tunnelled ? 'VXLAN' : 'native'
  packet(`a node port with a backend elsewhere: ${name}`, {
    config: each,
    world: of('n1:30080', 'away:36412'),
    when: fromNetdev(sctp('outside:40000', 'n1:30080', { payloadBytes: 100 })),
    then: { ...sent('n2'), tunnel: each === tunnelled },
  })
}

packet('its answer goes back to the client', {
  world: of('n1:30080', 'away:36412'),
  given: [fromNetdev(sctp('outside:40000', 'n1:30080'))],
  when: fromNetdev(sctp('away:36412', 'n1:40000')),
  then: sent(null, sctp('n1:30080', 'outside:40000', { hopLimit: 63 })),
})

packet('a client of a low port gets another port of the node', {
  world: of('n1:30080', 'away:36412'),
  when: fromNetdev(sctp('outside:100', 'n1:30080')),
  then: sent('n2'),
})

packet('a pod that asks the world gets a port of the node', {
  world: world(pod('cart')),
  when: fromPod('cart', sctp('cart:4000', 'outside:36412')),
  then: sent(null),
})

packet("the node's own packet to a cluster IP", {
  world: of('shop:80', 'away:36412'),
  when: toNetdev(sctp('n1:4000', 'shop:80')),
  then: sent('n2', sctp('n1:4000', 'away:36412')),
})

const partial =
  (from: string, to: string, header = {}): InFamily<ReturnType<ReturnType<typeof sctp>>> =>
  (family) => {
    const { transport, ...rest } = sctp(from, to, header)(family)
    return { ...rest, transport: { ...transport, isPartial: true } as typeof transport }
  }

packet('a checksum that a device is to compute stays for it', {
  world: of('shop:80', 'web:36412'),
  when: fromPod('cart', partial('cart:4000', 'shop:80')),
  then: delivered('web', partial('cart:4000', 'web:36412', { hopLimit: 63 })),
})

packet('in fragments the length of the whole is not known: refused', {
  world: of('shop:80', 'web:36412'),
  when: fromPod('cart', firstFragment(sctp('cart:4000', 'shop:80', { payloadBytes: 52 }), 7)),
  then: dropped('HEADER_WRITE'),
})

packet('in fragments a port that stays is no reason to refuse', {
  world: of('shop:80', 'web:80'),
  given: [fromPod('cart', firstFragment(sctp('cart:4000', 'shop:80', { payloadBytes: 52 }), 7))],
  when: fromPod('cart', laterFragment(sctp('cart:4000', 'shop:80'), 7)),
  then: delivered('web', laterFragment(sctp('cart:4000', 'web:80', { hopLimit: 63 }), 7)),
})

packet('an ICMP error about it reaches the client as one about the Service', {
  world: of('shop:80', 'web:36412'),
  given: [fromPod('cart', sctp('cart:4000', 'shop:80'))],
  when: fromPod('web', icmpError('port unreachable', 'web', sctp('cart:4000', 'web:36412', { payloadBytes: 30 }))),
  then: delivered(
    'cart',
    icmpError('port unreachable', 'shop', sctp('cart:4000', 'shop:80', { payloadBytes: 30 }), { hopLimit: 63 }),
  ),
})

// -- The powers --------------------------------------------------------------------------------------------------------

test('the constant of every digit is that power of x, found by appending that many zeros', () => {
  const header = readFileSync(join(import.meta.dirname, '../../bpf/lib/crc32c.h'), 'utf8')
  const table = /crc32c_powers\[4\]\[16\] = \{([^;]*)\};/.exec(header)![1]!
  const found = Array.from(table.matchAll(/0x[0-9a-f]{8}/g), ([text]) => Number(text))
  const wanted = Array.from({ length: 64 }, (_, i) => appended(0x80000000, (i & 15) << (4 * (i >> 4))))
  expect(found).toEqual(wanted)
})

test('the checksum is the one of RFC 9260, and linear', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 12, maxLength: 2000 }),
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      (a, ports) => {
        const b = Uint8Array.from(a)
        b.set(ports)
        const change =
          (new DataView(a.slice(0, 4).buffer).getUint32(0, true) ^
            new DataView(ports.slice().buffer).getUint32(0, true)) >>>
          0
        expect((crc32c(a) ^ crc32c(b)) >>> 0).toBe(appended(change, a.length))
      },
    ),
  )
})

/** The remainder after so many more bytes of zeros. */
function appended(remainder: number, bytes: number): number {
  let register = remainder
  for (let bit = 0; bit < bytes * 8; bit++) register = (register >>> 1) ^ (register & 1 ? 0x82f63b78 : 0)
  return register >>> 0
}

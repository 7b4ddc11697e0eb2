// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { Address4, Address6 } from 'ip-address'
import { describe, expect, test } from 'vitest'
import { bits } from '../../test/support/policy-model.ts'
import {
  type Address,
  addressBytes,
  addressFromBytes,
  compareAddresses,
  family,
  isParseError,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixContains,
  prefixCovers,
  prefixFromKey,
  prefixToKey,
  specialAddress,
} from './address.ts'

const bytes = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // Zero runs, which '::' stands for.
  fc.array(fc.constantFrom(0, 0, 0, 1, 0xff), { minLength: 16, maxLength: 16 }).map((each) => Uint8Array.from(each)),
  fc
    .uint8Array({ minLength: 4, maxLength: 4 })
    .map((each) => Uint8Array.from([...Array<number>(10).fill(0), 0xff, 0xff, ...each])),
)

const address = bytes.map(addressFromBytes)
const prefix = fc
  .tuple(address, fc.nat(128))
  .map(([of, length]) => parsePrefix(`${of}/${family(of) === 4 ? length % 33 : length}`) as Prefix)

/** Another library's reading of the same 16 bytes. */
function naiveText(of: Uint8Array): string {
  const isMapped = of.subarray(0, 10).every((byte) => byte === 0) && of[10] === 0xff && of[11] === 0xff
  return isMapped
    ? Address4.fromByteArray([...of.subarray(12)]).correctForm()
    : Address6.fromByteArray([...of]).correctForm()
}

describe('one address has one text, or keys of tables would not meet', () => {
  test('text of bytes is RFC 5952, mapped ones are IPv4, and it reads back', () => {
    fc.assert(
      fc.property(bytes, (of) => {
        const text = addressFromBytes(of)
        expect(text).toBe(naiveText(of))
        expect(addressBytes(text)).toEqual(of)
        expect(parseAddress(text)).toBe(text)
      }),
      { numRuns: 5000 },
    )
  })

  test('every spelling of an IPv6 address reads as the same text', () => {
    fc.assert(
      fc.property(bytes, fc.boolean(), (of, upper) => {
        const groups = Array.from({ length: 8 }, (_, i) => ((of[2 * i]! << 8) | of[2 * i + 1]!).toString(16))
        const dotted = [...groups.slice(0, 6).map((group) => group.padStart(4, '0')), [...of.subarray(12)].join('.')]
        for (const written of [groups.join(':'), dotted.join(':')]) {
          expect(parseAddress(upper ? written.toUpperCase() : written)).toBe(addressFromBytes(of))
        }
      }),
    )
  })

  test('what is no address is refused, never thrown at', () => {
    const alphabet = fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:./%gx '), maxLength: 50 })
    fc.assert(
      fc.property(fc.oneof(alphabet, fc.string()), (text) => {
        const parsed = parseAddress(text)
        const valid = text.includes(':')
          ? Address6.isValid(text) && !/[/%]/.test(text)
          : Address4.isValid(text) && !text.includes('/') && !/(^|\.)0\d/.test(text)
        expect(!isParseError(parsed)).toBe(valid)
        expect(isParseError(parsePrefix(text)) || /\/\d+$/.test(text)).toBe(true)
      }),
      { numRuns: 20_000 },
    )
    for (const text of [
      '',
      '1.2.3',
      '1.2.3.4.5',
      '01.2.3.4',
      '256.0.0.1',
      ':',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7',
      'fe80::1%eth0',
      '::1.2.3.4:5',
      '1:2:3:4:5:6:7:8:9',
      '::00001',
    ]) {
      expect(isParseError(parseAddress(text)), text).toBe(true)
    }
  })
})

describe('a wrong prefix admits strangers', () => {
  test('containment is equality of leading bits within one family', () => {
    fc.assert(
      fc.property(prefix, address, (of, at) => {
        const [network, length] = of.split('/') as [string, string]
        const sameFamily = network.includes(':') === at.includes(':')
        const inside = sameFamily && bits(network).slice(0, Number(length)) === bits(at).slice(0, Number(length))
        expect(prefixContains(of, at)).toBe(inside)
        expect(prefixContains(of, network as Address)).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  test('table keys read back, and a shorter prefix covers a longer one', () => {
    fc.assert(
      fc.property(prefix, fc.nat(128), (of, shorter) => {
        expect(prefixFromKey(prefixToKey(of))).toBe(of)
        const [network, length] = of.split('/') as [string, string]
        const wider = parsePrefix(`${network}/${Math.min(shorter, Number(length))}`) as Prefix
        expect(prefixCovers(wider, of)).toBe(true)
        expect(prefixCovers(of, wider)).toBe(of === wider)
      }),
    )
  })

  test.each([
    ['10.1.2.3/8', '10.0.0.0/8', 104],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8', 104],
    ['0.0.0.0/0', '0.0.0.0/0', 96],
    ['::/0', '::/0', 0],
    ['::ffff:0:0/95', '::fffe:0:0/95', 95],
    ['FD00::1/64', 'fd00::/64', 64],
  ])('%s is %s of length %i in tables', (written, text, length) => {
    expect(parsePrefix(written)).toBe(text)
    expect(prefixToKey(parsePrefix(written) as Prefix).length).toBe(length)
  })

  test.each([
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/',
    '::/129',
    '/8',
    'x/8',
    '1.2.3.4/8/9',
  ])('%s is refused', (written) => expect(parsePrefix(written)).toHaveProperty('parseError'))
})

test('order is that of the bytes, as the data plane orders the ends of a flow', () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      const order = compareAddresses(addressFromBytes(a), addressFromBytes(b))
      expect(Math.sign(order)).toBe(Math.sign(Buffer.compare(a, b)))
    }),
  )
})

test.each([
  ['0.0.0.0', 'unspecified'],
  ['::', 'unspecified'],
  ['127.9.9.9', 'loopback'],
  ['::1', 'loopback'],
  ['::ffff:127.0.0.1', 'loopback'],
  ['169.254.0.1', 'link-local'],
  ['fe80::1', 'link-local'],
  ['febf::1', 'link-local'],
  ['224.0.0.1', 'multicast'],
  ['239.1.1.1', 'multicast'],
  ['ff02::1', 'multicast'],
  ['fec0::1', null],
  ['ff::1', null],
  ['223.1.1.1', null],
  ['240.0.0.1', null],
  ['1.127.0.0', null],
  ['12.7.0.1', null],
])('a packet to %s would go astray: %s', (text, special) => {
  expect(specialAddress(parseAddress(text) as Address)).toBe(special)
})

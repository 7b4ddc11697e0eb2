// SPDX-License-Identifier: Apache-2.0

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ask, cniRequest, fakeNode, isClean } from '../../test/support/cni.ts'
import { soak } from '../../test/support/soak.ts'
import { answerVersion, type CniRequest, parseCommand, parseRequest, SUPPORTED_VERSIONS } from './protocol.ts'
import { parseResult } from './results.ts'

const NETNS = '/proc/self/ns/uts'

function attach(changes: Partial<CniRequest> = {}, config: object = {}) {
  return parseCommand(cniRequest('ADD', { netns: NETNS, ...changes }, config))
}

describe('accepted', () => {
  test.each(SUPPORTED_VERSIONS)('cniVersion %s', (cniVersion) => {
    expect(attach({}, { cniVersion })).toMatchObject({ command: 'ADD', config: { cniVersion } })
  })

  test.each([
    ['', { namespace: '', name: '', uid: '' }],
    ['K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=c', { namespace: 'a', name: 'b', uid: 'c' }],
    ['IgnoreUnknown=1;FOO=BAR=BAZ;;K8S_POD_NAME=b;', { namespace: '', name: 'b', uid: '' }],
    ['IgnoreUnknown=TRUE;FOO=1', { namespace: '', name: '', uid: '' }],
    ['K8S_POD_INFRA_CONTAINER_ID=x', { namespace: '', name: '', uid: '' }],
    ['IgnoreUnknown=1;__proto__=x;K8S_POD_NAME=', { namespace: '', name: '', uid: '' }],
  ])('CNI_ARGS %j', (args, pod) => {
    expect(attach({ args })).toMatchObject({ pod })
  })

  test('an interface name of 15 bytes, one that is not ASCII, and an empty ipam', () => {
    expect(attach({ ifname: 'interface-of-15' })).toMatchObject({ id: { ifname: 'interface-of-15' } })
    expect(attach({ ifname: 'netz-ä' })).toMatchObject({ id: { ifname: 'netz-ä' } })
    expect(attach({}, { ipam: {} })).toMatchObject({ command: 'ADD' })
  })

  test('DEL without a namespace', () => {
    expect(parseCommand(cniRequest('DEL'))).toMatchObject({ command: 'DEL', id: { containerId: 'c1' } })
  })
})

describe('refused', () => {
  test.each<[number, Partial<CniRequest>, object]>([
    [1, {}, { cniVersion: '0.2.0' }],
    [1, {}, { cniVersion: undefined }],
    [2, {}, { ipam: { type: 'host-local' } }],
    [4, { containerId: '-x' }, {}],
    [4, { containerId: 'x'.repeat(256) }, {}],
    [4, { ifname: 'ä'.repeat(8) }, {}],
    [4, { ifname: '..' }, {}],
    [4, { ifname: 'a\u0000b' }, {}],
    [4, { netns: '/a\u0000b' }, {}],
    [4, { args: 'FOO=1' }, {}],
    [4, { args: 'IgnoreUnknown=0;FOO=1' }, {}],
    [4, { args: 'K8S_POD_NAMESPACE=a/b' }, {}],
    [6, { config: '' }, {}],
    [6, { config: '{' }, {}],
    [7, { config: '[]' }, {}],
    [7, {}, { name: 'a/b' }],
    [7, {}, { prevResult: { ips: [{ address: '10.0.0.1' }] } }],
    [7, {}, { prevResult: { interfaces: [{}] } }],
  ])('code %d: %j %j', (code, changes, config) => {
    expect(attach(changes, config)).toMatchObject({ code })
  })

  test('the message names the variable or the version, and cuts what is long', () => {
    expect(attach({ ifname: 'a/b' })).toEqual({ code: 4, msg: 'invalid CNI_IFNAME', details: '"a/b"' })
    expect(attach({ containerId: '' })).toEqual({ code: 4, msg: 'invalid CNI_CONTAINERID', details: 'it is not set' })
    expect(attach({}, { cniVersion: '9.9.9' })).toMatchObject({
      details: 'cniVersion is "9.9.9", supported are 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
    })
    expect(JSON.stringify(attach({ ifname: 'x'.repeat(5000) })).length).toBeLessThan(300)
  })

  test('an error says the version that was asked for, if it looks like one', () => {
    const asked = (cniVersion: unknown) => answerVersion(JSON.stringify({ cniVersion }))
    expect([asked('0.4.0'), asked('2.0.0'), asked('1.0'), asked('x'), asked(7), answerVersion('{')]).toEqual([
      '0.4.0',
      '2.0.0',
      '1.0',
      '1.1.0',
      '1.1.0',
      '1.1.0',
    ])
  })
})

test('a prevResult may lack its lists, or have null for them', () => {
  const empty = { interfaces: [], ips: [], routes: [], dns: null }
  expect(parseResult({})).toEqual(empty)
  expect(parseResult({ interfaces: null, ips: null, routes: null, dns: null })).toEqual(empty)
  expect(parseResult({ interfaces: [7] })).toBe('interfaces, ips and routes must be lists of objects')
})

describe('whatever is sent', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom('', 'c1', 'eth0', NETNS, '/etc/passwd'),
  )
  const member = fc.oneof(fc.json(), fc.string(), fc.constantFrom('1.1.0', '0.3.0', 'heddle', null, [], {}))
  const config = fc.oneof(
    fc.json(),
    fc.string({ unit: 'binary' }),
    fc
      .record(
        {
          cniVersion: fc.oneof(
            { weight: 5, arbitrary: fc.constantFrom(...SUPPORTED_VERSIONS) },
            { weight: 1, arbitrary: member },
          ),
          name: fc.oneof({ weight: 5, arbitrary: fc.constant('heddle') }, { weight: 1, arbitrary: member }),
          prevResult: fc.oneof(
            member,
            fc.record({
              interfaces: member,
              ips: fc.array(fc.record({ address: member, interface: member })),
              dns: member,
            }),
          ),
          ipam: member,
          dns: member,
          'cni.dev/valid-attachments': fc.oneof(member, fc.array(fc.record({ containerID: member, ifname: member }))),
        },
        { requiredKeys: [] },
      )
      .map((value) => JSON.stringify(value)),
  )
  const request = fc.record({
    command: fc.oneof(fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS'), text),
    containerId: text,
    netns: text,
    ifname: text,
    args: fc.oneof(text, fc.constant('IgnoreUnknown=1')),
    path: text,
    config,
  })

  test('the answer is a result or an error of the specification, and a failure leaves nothing', async () => {
    const node = await fakeNode()
    await fc.assert(
      fc.asyncProperty(request, async (sent) => {
        const reply = await ask(node, sent)
        if (reply.exitCode === 0) {
          if (sent.command === 'ADD') {
            expect(JSON.parse(reply.output)).toHaveProperty('ips')
            await ask(node, { ...cniRequest('DEL'), containerId: sent.containerId, ifname: sent.ifname })
          } else expect(reply.output).toBe('')
        } else {
          const error = JSON.parse(reply.output)
          expect(Object.keys(error)).toEqual(['cniVersion', 'code', 'msg', 'details'])
          expect([1, 2, 3, 4, 5, 6, 7, 11, 50, 100, 101, 102, 103, 104]).toContain(error.code)
          expect(error.cniVersion).toMatch(/^[0-9.]+$/)
          expect(error.msg).not.toBe('')
        }
        expect(isClean(node)).toBe(true)
      }),
      { numRuns: soak(2000, 100_000) },
    )
  })

  test('a frame is a request or an error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          request.map((sent) => JSON.stringify(sent)),
        ),
        (frame) => {
          const parsed = parseRequest(frame)
          if ('code' in parsed) expect(parsed).toMatchObject({ code: 6 })
          else expect(Object.values(parsed).every((value) => typeof value === 'string')).toBe(true)
        },
      ),
    )
  })
})

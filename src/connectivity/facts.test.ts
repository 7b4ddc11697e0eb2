// SPDX-License-Identifier: Apache-2.0
// What the API, the pods and the agents say is not trusted: it is read by the field, bounded, or refused.

import { describe, expect, test } from 'vitest'
import { watchDrops } from './agents.ts'
import { podStates, readFacts, readyNodes } from './facts.ts'
import { readResults } from './paths.ts'

function node(name: string, change: { ready?: string; unschedulable?: boolean; os?: string } = {}) {
  return {
    metadata: { name, labels: { 'kubernetes.io/os': change.os ?? 'linux' } },
    spec: { unschedulable: change.unschedulable ?? false },
    status: { conditions: [{ type: 'Ready', status: change.ready ?? 'True' }] },
  }
}

test('nodes that take pods: ready, not cordoned, Linux, by name', () => {
  const nodes = [
    node('n2'),
    node('n1'),
    node('cut', { ready: 'Unknown' }),
    node('cordoned', { unschedulable: true }),
    node('other', { os: 'windows' }),
  ]
  expect(readyNodes(nodes)).toEqual(['n1', 'n2'])
  expect(() => readyNodes([node('../n1')])).toThrow(/is not a name/)
})

describe('pods while they start', () => {
  const state = (status: object) => podStates([{ metadata: { name: 'a' }, status }]).get('a')!

  test('ready with its addresses', () => {
    const status = { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }], containerStatuses: [{ ready: true }] }
    expect(state(status)).toMatchObject({ isReady: true, addresses: ['10.0.0.1', 'fd00::1'], isHopeless: false })
  })

  test('no status yet: waiting, and nothing to say', () => {
    expect(state({})).toMatchObject({ isReady: false, waiting: '', isHopeless: false })
  })

  test('an image that cannot be had is hopeless, and its message is bounded', () => {
    const waiting = { reason: 'ErrImageNeverPull', message: 'x'.repeat(100_000) }
    const pod = state({ containerStatuses: [{ ready: false, state: { waiting } }] })
    expect(pod.isHopeless).toBe(true)
    expect(pod.waiting).toMatch(/^ErrImageNeverPull: x{300}$/)
  })

  test('a program that ends again and again is hopeless', () => {
    const ended = { terminated: { message: 'listen EADDRINUSE' } }
    const pod = state({ containerStatuses: [{ ready: true, restartCount: 3, lastState: ended }] })
    expect(pod).toMatchObject({ isHopeless: true, waiting: 'listen EADDRINUSE' })
  })
})

const nothing = {
  namespace: 'test',
  nodes: [],
  nodePort: 20_000,
  hostPort: 20_002,
  pods: new Map(),
  services: [],
  apiServer: null,
  dnsServices: [],
}

test('families are those of pods and Services; a headless Service has no address', () => {
  const service = (name: string, ...clusterIPs: string[]) => ({ metadata: { name }, spec: { clusterIPs } })
  const pods = new Map([['server-1', { name: 'server-1', addresses: ['10.0.0.1' as never] }]])
  const deployed = { ...nothing, nodes: ['n1'], pods }
  const services = [service('server', '10.96.0.1', 'fd00:96::1'), service('headless', 'None')]
  const facts = readFacts({ ...deployed, services }, null)
  expect(facts.families).toEqual([4, 6])
  expect(facts.services).toEqual({ server: ['10.96.0.1', 'fd00:96::1'], self: [], guarded: [], nobody: [] })
  expect(readFacts({ ...deployed, services }, [6]).families).toEqual([6])
})

test('node ports are read by protocol, and need both', () => {
  const ports = [
    { protocol: 'TCP', nodePort: 30_080 },
    { protocol: 'UDP', nodePort: 30_081 },
  ]
  const exposed = (ports: readonly object[]) => {
    return readFacts({ ...nothing, services: [{ metadata: { name: 'exposed' }, spec: { ports } }] }, null).exposed
  }
  expect(exposed(ports)).toEqual({ tcp: 30_080, udp: 30_081 })
  expect(exposed([ports[0]!, { protocol: 'UDP' }])).toBeNull()
})

test('addresses from outside are those that the API server took; a Service that it refused has none', () => {
  const ingress = [{ ip: '198.51.100.7' }, { ip: '2001:db8:1::7' }]
  const services = [
    { metadata: { name: 'external' }, spec: { externalIPs: ['192.0.2.7'] } },
    { metadata: { name: 'load-balanced' }, status: { loadBalancer: { ingress } } },
  ]
  expect(readFacts({ ...nothing, services }, null)).toMatchObject({
    externalIPs: ['192.0.2.7'],
    loadBalancerIPs: ['198.51.100.7', '2001:db8:1::7'],
  })
  expect(readFacts(nothing, null)).toMatchObject({ externalIPs: [], loadBalancerIPs: [] })
})

describe('results that a pod says', () => {
  const result = { error: '', milliseconds: 1, bytes: 0, source: '', servers: ['a'], addresses: [] }

  test('are taken by the field', () => {
    expect(readResults(JSON.stringify([{ ...result, more: 'x' }]), 1)).toEqual([result])
  })

  test.each([
    ['nonsense'],
    ['{}'],
    ['[]'],
    [JSON.stringify([result, result])],
    [JSON.stringify([{ ...result, servers: 'a' }])],
    [JSON.stringify([{ ...result, servers: [1] }])],
    [JSON.stringify([{ ...result, addresses: ['x'.repeat(1_000)] }])],
    [JSON.stringify([{ ...result, milliseconds: '1' }])],
  ])('%.40s is none', (text) => {
    expect(readResults(text, 1)).toBeNull()
  })
})

describe('what an agent says', () => {
  const at = { namespace: 'kube-system', pod: 'heddle-1', container: 'agent' }
  const line = (source: string) =>
    `${JSON.stringify({ reason: 'source', protocol: 'TCP', hook: 'from_pod', source, destination: '10.0.0.2', sourcePort: 1, destinationPort: 2, rule: null })}\n`

  async function told(chunks: readonly string[], status = '{"drops":[{"reason":"source","packets":3}]}') {
    const watch = await watchDrops(
      async (_, command, signal, stdout) => {
        if (command[1] === 'status') return { exitCode: 0, stdout: status, stderr: '' }
        for (const chunk of chunks) stdout!(chunk)
        return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      },
      new Map([['n1', at]]),
      ['n1', 'n2'],
      60,
      new AbortController().signal,
    )
    const events = watch.events()
    return { events, drops: await watch.finish() }
  }

  test('events come in pieces; a line that is no event is left out', async () => {
    const text = line('10.0.0.1')
    const { events, drops } = await told([text.slice(0, 9), text.slice(9), 'nonsense\n', line('no address'), '[]\n'])
    expect(events.map(({ source }) => source)).toEqual(['10.0.0.1'])
    expect(drops).toMatchObject([
      { node: 'n1', unknown: '', after: { source: 3 } },
      { node: 'n2', unknown: 'no agent of Heddle runs on n2' },
    ])
  })

  test('a line without end takes no memory, and what follows it is read', async () => {
    const flood = Array.from({ length: 200 }, () => 'x'.repeat(10_000))
    const { events } = await told([...flood, '\n', line('10.0.0.1')])
    expect(events).toHaveLength(1)
  })

  test('counters that cannot be read leave that node unknown', async () => {
    const { drops } = await told([], 'nonsense')
    expect(drops[0]!.unknown).toMatch(/^the agent of n1 cannot be asked: /)
  })
})

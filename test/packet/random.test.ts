// SPDX-License-Identifier: Apache-2.0
// Random tables, random packets and answers to what came out: `trace` and the programs agree on each. A failure prints
// the seed and the smallest case that fast-check found; HEDDLE_SEED repeats it, HEDDLE_RUNS makes the test longer.

import fc from 'fast-check'
import { afterAll, beforeAll, test } from 'vitest'
import type { Family } from '../../src/core/address.ts'
import { Protocol } from '../../src/core/protocol.ts'
import type { IpPacket } from '../../src/datapath/trace-packet.ts'
import { emptyFlowState, type Tables } from '../../src/datapath/trace-tables.ts'
import { type NodeConfig, Realm } from '../../src/generated/abi.ts'
import type { Header } from '../support/packet.ts'
import { soak } from '../support/soak.ts'
import {
  allow,
  config,
  deny,
  egress,
  epoch,
  type Host,
  ingress,
  type LocalPod,
  native,
  pod,
  podIfindex,
  serviceAddress,
  serviceOf,
  sorting,
  tunnelled,
  tunnelledSorting,
  UPLINK,
  world,
} from './cluster.ts'
import { type Kernel, startKernel } from './kernel.ts'
import { type At, fromNetdev, fromPod, type Outcome, runStage, sorted, toNetdev, toPod } from './row.ts'
import {
  echoReply,
  echoRequest,
  firstFragment,
  type InFamily,
  icmpError,
  laterFragment,
  opaque,
  sctp,
  tcp,
  udp,
  vxlan,
} from './vocabulary.ts'

const RUNS = Number(process.env.HEDDLE_RUNS ?? soak(300, 20_000))
const PACKETS_PER_RUN = 8

const pods = Object.keys(podIfindex) as readonly LocalPod[]
const places: readonly Host[] = [
  'cart',
  'web',
  'bare',
  'vacant',
  'away',
  'far',
  'n1',
  'n1',
  'n2',
  'shop',
  'vip',
  'outside',
]
const ports = [53, 80, 8080, 30080, 40000]
const flags = ['S', 'S', 'SA', 'A', 'FA', 'R']

// -- Tables --------------------------------------------------------------------------------------------------------

const anyRule = fc.record({
  peer: fc.constantFrom(
    'any' as const,
    { realm: Realm.POD },
    { realm: Realm.WORLD },
    { realm: Realm.NODE },
    { class: 'pods' },
    { class: 'world' },
    { class: 'n2' },
  ),
  ports: fc.constantFrom(
    undefined,
    'TCP',
    'UDP',
    'TCP/80',
    'TCP/80-95',
    'UDP/53',
    `ICMP/${8 << 8}`,
    `ICMPv6/${128 << 8}`,
  ),
  allowed: fc.boolean(),
})

const anySet = fc.option(
  fc.uniqueArray(anyRule, { maxLength: 4, selector: ({ peer, ports }) => JSON.stringify([peer, ports]) }),
)

const anyBackends = fc.uniqueArray(
  fc.constantFrom('cart:8080', 'web:80', 'away:8080', 'far:80', 'n1:80', 'n2:80', 'client:80'),
  { maxLength: 3 },
)

/** A Service at every kind of address, by TCP and UDP. */
const anyService = fc
  .record({
    backends: anyBackends,
    external: fc.option(anyBackends, { nil: undefined }),
    local: fc.constantFrom(undefined, undefined, 'internal' as const, 'external' as const),
    ranges: fc.constantFrom(undefined, undefined, undefined, ['outside', 'cart', 'n1', 'n2'] as const),
    affinitySeconds: fc.constantFrom(0, 0, 60),
    hasAddress: fc.boolean(),
  })
  .map(({ hasAddress, external, local, ranges, ...rest }) => {
    const shape = { ...rest, ...(external && { external }), ...(local && { local }), ...(ranges && { ranges }) }
    return [
      ...['shop:80', 'n1:30080', 'vip:80'].flatMap((at) => [serviceOf(at, shape)]),
      ...['shop:53', 'n1:53', 'vip:53'].map((at) => serviceOf(at, { ...shape, protocol: Protocol.UDP })),
      ...(hasAddress ? [serviceAddress('shop')] : []),
    ]
  })

const anyWorld = fc
  .record({
    policies: fc.tuple(...pods.map(() => fc.record({ out: anySet, in: anySet, isolated: fc.boolean() }))),
    isolation: fc.nat(9),
    service: anyService,
  })
  .map(({ policies, isolation, service }) => (generation: number): Tables => {
    const rulesOf = (
      set: string,
      rules: readonly {
        peer: 'any' | { realm: Realm } | { class: string }
        ports: string | undefined
        allowed: boolean
      }[],
    ) => rules.map(({ peer, ports, allowed }, i) => (allowed ? allow : deny)(`${set} ${i}`, peer, ports))
    const parts = pods.map((name, i) => {
      const { out, in: inward, isolated } = policies[i]!
      const set = `${name} ${generation}`
      return pod(name, {
        ...(out && { egress: egress(`${set} out`, ...rulesOf(`${set} out`, out)) }),
        ...(inward && { ingress: ingress(`${set} in`, ...rulesOf(`${set} in`, inward)) }),
        isolated: isolated && isolation === 0,
      })
    })
    return world(...parts, ...service, epoch(7 + generation))
  })

// -- Packets -------------------------------------------------------------------------------------------------------

const anyPort = fc.constantFrom(...ports)
const anyHopLimit = fc.constantFrom(64, 64, 64, 2, 1)

function anyPacket(from: fc.Arbitrary<Host>): fc.Arbitrary<InFamily<IpPacket>> {
  return fc
    .record({
      kind: fc.constantFrom('tcp', 'tcp', 'udp', 'request', 'reply', 'error', 'sctp', 'opaque'),
      from,
      to: fc.constantFrom(...places),
      sourcePort: anyPort,
      destinationPort: anyPort,
      letters: fc.constantFrom(...flags),
      header: fc.record({ hopLimit: anyHopLimit, trafficClass: fc.constantFrom(0, 1, 3) }),
      piece: fc.constantFrom('whole', 'whole', 'whole', 'whole', 'first', 'later'),
    })
    .map(({ piece, ...rest }) => {
      const packet = packetOf(rest)
      if (piece === 'first') return firstFragment(packet, 5)
      return piece === 'later' ? laterFragment(packet, 5) : packet
    })
}

interface Choice {
  readonly kind: string
  readonly from: Host
  readonly to: Host
  readonly sourcePort: number
  readonly destinationPort: number
  readonly letters: string
  readonly header: Header
}

function packetOf({ kind, from, to, sourcePort, destinationPort, letters, header }: Choice): InFamily<IpPacket> {
  const [source, destination] = [`${from}:${sourcePort}`, `${to}:${destinationPort}`]
  if (kind === 'tcp') return tcp(source, destination, letters, header)
  if (kind === 'udp') return udp(source, destination, header)
  if (kind === 'request') return echoRequest(from, to, sourcePort, header)
  if (kind === 'reply') return echoReply(from, to, sourcePort, header)
  if (kind === 'sctp') return sctp(source, destination, header)
  if (kind === 'opaque') return opaque(from, to, 47, header)
  return icmpError('port unreachable', from, udp(destination, source), header)
}

/** What asks for a Service from the network, or goes on where one asked. */
const anyAsk: fc.Arbitrary<InFamily<IpPacket>> = fc
  .record({
    from: fc.constantFrom('outside:40000', 'client:40000', 'outside:80', 'n2:40000', 'other:40000'),
    to: fc.constantFrom('n1:30080', 'vip:80', 'n1:53', 'vip:53'),
    letters: fc.constantFrom('S', 'S', 'S', 'A', 'FA'),
    header: fc.record({ hopLimit: anyHopLimit, payloadBytes: fc.constantFrom(0, 100, 1420, 1440) }),
  })
  .map(({ from, to, letters, header }) => (to.endsWith(':53') ? udp(from, to, header) : tcp(from, to, letters, header)))

/** A packet somewhere, or the answer to what an earlier one became. */
type Event = { readonly at: At } | { readonly answerTo: number; readonly letters: string }

const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(...pods).chain((name) =>
      anyPacket(fc.oneof({ weight: 9, arbitrary: fc.constant(name) }, fc.constantFrom(...places))).map((packet) => ({
        at: fromPod(name, packet),
      })),
    ),
  },
  { weight: 3, arbitrary: anyPacket(fc.constantFrom(...places)).map((packet) => ({ at: fromNetdev(packet) })) },
  { weight: 4, arbitrary: anyAsk.map((packet) => ({ at: fromNetdev(packet) })) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.oneof(anyPacket(fc.constantFrom(...places)), anyAsk),
        fc.constantFrom('n1', 'n2', 'n3', 'neighbour'),
        fc.constantFrom(1, 1, 1, 9),
      )
      .map(([packet, outer, vni]) => ({ at: fromNetdev(vxlan(outer, 'n1', packet, { vni })) })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        fc.constantFrom(...pods),
        anyPacket(fc.constantFrom<Host>('n1', 'n1', 'outside', 'away', 'cart', 'web')),
        fc.constantFrom(0, 0, UPLINK, podIfindex.cart, podIfindex.web),
      )
      .map(([name, packet, from]) => ({ at: toPod(name, packet, from) })),
  },
  {
    weight: 1,
    arbitrary: anyPacket(fc.constantFrom<Host>('n1', 'n1', 'cart')).map((packet) => ({ at: toNetdev(packet) })),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      answerTo: fc.nat(PACKETS_PER_RUN - 1),
      letters: fc.constantFrom('SA', 'SA', 'A', 'FA', 'R', 'S'),
    }),
  },
)

const anyCase = fc.record({
  config: fc.constantFrom<NodeConfig>(
    native,
    tunnelled,
    sorting,
    tunnelledSorting,
    config({ natPortMin: 40000, natPortMax: 40003 }),
  ),
  family: fc.constantFrom<Family>(4, 6),
  worlds: fc.tuple(anyWorld, anyWorld),
  /** When the second world takes over. */
  change: fc.nat(PACKETS_PER_RUN),
  events: fc.array(anyEvent, { minLength: 1, maxLength: PACKETS_PER_RUN }),
})

/** Whoever got the packet answers, from where it got it; the sorter gives it back. */
function answer(
  { traced: { verdict, packet } }: Outcome,
  at: At,
  letters: string,
  { tunnelMode }: NodeConfig,
): At | null {
  if (packet.kind === 'other' || verdict.kind === 'drop') return null
  if (verdict.kind === 'sorter') return { ...sorted(at), packet: () => packet }
  const inner = packet.transport.kind === 'vxlan' ? (packet.transport.inner as IpPacket) : packet
  const back = (): IpPacket => answered(inner, letters)
  if (verdict.kind === 'pod') {
    const name = pods.find((candidate) => podIfindex[candidate] === verdict.ifindex)!
    return fromPod(name, back)
  }
  if (verdict.kind === 'nexthop') return fromNetdev(tunnelMode === 0 ? back : vxlan('n2', 'n1', back))
  return at.hook === 'from_pod' ? { ...at, hook: 'to_pod', packet: back } : toNetdev(back)
}

function answered(packet: IpPacket, letters: string): IpPacket {
  const { transport, family } = packet
  const swapped = { ...packet, source: packet.destination, destination: packet.source, hopLimit: 64 }
  if (transport.kind === 'tcp') {
    const { sourcePort, destinationPort } = transport
    const flags = tcp('cart:1', 'web:1', letters)(family).transport as { readonly flags: number }
    const ports = { sourcePort: destinationPort, destinationPort: sourcePort }
    return { ...swapped, transport: { ...transport, ...ports, flags: flags.flags } }
  }
  if ('sourcePort' in transport) {
    const { sourcePort, destinationPort } = transport
    return { ...swapped, transport: { ...transport, sourcePort: destinationPort, destinationPort: sourcePort } }
  }
  if (transport.kind !== 'icmp') return swapped
  const { type } = echoReply('cart', 'web', 1)(family).transport as { readonly type: number }
  return { ...swapped, transport: { ...transport, type } }
}

function describe({ hook, ifindex, packet }: At, family: Family): string {
  return `${hook} of ${ifindex}: ${JSON.stringify(packet(family))}`
}

// -- The property --------------------------------------------------------------------------------------------------

let kernel: Kernel

beforeAll(async () => {
  kernel = await startKernel()
})
afterAll(() => kernel?.[Symbol.asyncDispose]())

test('trace and the programs agree on random tables and packets', { timeout: 60_000 + RUNS * 40 }, async () => {
  const seed = process.env.HEDDLE_SEED ? { seed: Number(process.env.HEDDLE_SEED) } : {}
  const verdicts: Record<string, number> = {}
  await fc.assert(
    fc.asyncProperty(anyCase, async ({ config, family, worlds, change, events }) => {
      const tables = [worlds[0](0), worlds[1](1)] as const
      const done: { readonly outcome: Outcome; readonly at: At }[] = []
      let state = emptyFlowState()
      for (const [i, event] of events.entries()) {
        const asked = 'answerTo' in event ? done[event.answerTo % Math.max(1, done.length)] : undefined
        const at = 'at' in event ? event.at : asked && answer(asked.outcome, asked.at, event.letters, config)
        if (!at) continue
        const stage = { config, tables: tables[i < change ? 0 : 1], state, family, ats: [at] }
        const [outcome] = await runStage(kernel, stage).catch((error: Error) => {
          const packets = [...done.map((before) => before.at), at].map((one) => describe(one, family))
          error.message += `\nafter these packets:\n${packets.join('\n')}`
          throw error
        })
        state = outcome!.ran.state
        done.push({ outcome: outcome!, at })
        const { kind } = outcome!.traced.verdict
        verdicts[kind] = (verdicts[kind] ?? 0) + 1
      }
    }),
    { numRuns: RUNS, ...seed },
  )
  console.log(`${RUNS} worlds; the verdicts on their packets, both ways alike: ${JSON.stringify(verdicts)}`)
})

// SPDX-License-Identifier: Apache-2.0
// The bare forwarder, which Heddle's latencies are held against: the topology's own wires with the programs of bare.bpf.c
// on them, attached as Heddle's are. Each way that is measured has a topology of its own, so that every hook has one constant.
//
//   same node     a <-> b                      into the pod by bpf_redirect_peer
//   across        a <-> [n1]-[n2] <-> c        from the pod by bpf_redirect_neigh, from the wire by bpf_redirect_peer
//   tunnel        the same in VXLAN
//   node to node  [n1]-[n2]                    empty programs, which the stacks' own packets meet

import { mkdtempSync, rmSync } from 'node:fs'
import { endianness, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ipBatch, runTool } from '../src/lab/process.ts'
import {
  inNetns,
  leaveRoomForTunnel,
  linkOf,
  makeTopology,
  type NodePlace,
  netns,
  nodeAddress,
  otherNode,
} from './topology.ts'

export type BareKind = 'bare-same' | 'bare-across' | 'bare-tunnel' | 'bare-nodes'

interface Hook {
  readonly node: NodePlace
  readonly device: string
  readonly direction: 'ingress' | 'egress'
  /** Function of bare.bpf.c. */
  readonly program: string
  readonly to: string
}

const ingress = (node: NodePlace, device: string, program: string, to: string): Hook => {
  return { node, device, direction: 'ingress', program, to }
}

const across = (toWire: string, fromWire: string): readonly Hook[] => [
  ingress('n1', 'poda', toWire, 'eth0'),
  ingress('n1', 'eth0', fromWire, 'poda'),
  ingress('n2', 'podc', toWire, 'eth0'),
  ingress('n2', 'eth0', fromWire, 'podc'),
]

const hooks: Readonly<Record<BareKind, readonly Hook[]>> = {
  'bare-same': [ingress('n1', 'poda', 'to_pod', 'podb'), ingress('n1', 'podb', 'to_pod', 'poda')],
  'bare-across': across('to_node', 'to_pod'),
  'bare-tunnel': across('to_tunnel', 'from_tunnel'),
  'bare-nodes': (['n1', 'n2'] as const).flatMap((node) =>
    (['ingress', 'egress'] as const).map((direction) => {
      return { node, device: 'eth0', direction, program: 'pass', to: 'eth0' }
    }),
  ),
}

/** Nodes and pods as other topologies have them, forwarding by the bare forwarder. */
export async function makeBareForwarder(kind: BareKind): Promise<void> {
  await makeTopology(kind === 'bare-nodes' ? 'plain' : 'ptp', kind)
  if (kind === 'bare-tunnel') await leaveRoomForTunnel(kind)
  // From the wire everything goes to the pod, ARP too.
  for (const node of ['n1', 'n2'] as const) await knowOtherNode(kind, node)
  const objects = mkdtempSync(join(tmpdir(), 'heddle-bare-'))
  try {
    for (const [index, hook] of hooks[kind].entries()) await attach(kind, hook, join(objects, `${index}.o`))
  } finally {
    rmSync(objects, { recursive: true })
  }
}

async function knowOtherNode(topology: string, node: NodePlace): Promise<void> {
  const other = otherNode[node]
  const { address } = await linkOf(topology, other, 'eth0')
  await ipBatch(netns(topology, node), [`neigh replace ${nodeAddress[other]} lladdr ${address} dev eth0 nud permanent`])
}

async function attach(topology: string, { node, device, direction, program, to }: Hook, object: string): Promise<void> {
  const { ifindex } = await linkOf(topology, node, to)
  await compile(object, {
    PROGRAM: program,
    IFINDEX: ifindex,
    NEXT_HOP: networkOrder(nodeAddress[otherNode[node]]),
    OWN: networkOrder(nodeAddress[node]),
  })
  await runTool(inNetns(topology, node, path('../build/bench/attach'), object, device, direction))
}

async function compile(object: string, constants: Readonly<Record<string, string | number>>): Promise<void> {
  await runTool([
    process.env.CLANG ?? 'clang-19',
    ...['-target', 'bpf', '-O2', '-mcpu=v3', '-std=gnu11', '-Wall', '-Werror', '-Wno-unused-function'],
    ...Object.entries(constants).map(([name, value]) => `-D${name}=${value}`),
    ...['-I', path('../bpf'), '-c', path('bare.bpf.c'), '-o', object],
  ])
}

function path(relative: string): string {
  return fileURLToPath(new URL(relative, import.meta.url))
}

/** An IPv4 address as a number whose bytes in memory are the address. */
function networkOrder(address: string): number {
  const bytes = Buffer.from(address.split('.').map(Number))
  return endianness() === 'LE' ? bytes.readUInt32LE() : bytes.readUInt32BE()
}

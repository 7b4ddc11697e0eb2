// SPDX-License-Identifier: Apache-2.0
// For the tests of src/cni: a node without a kernel. Interfaces live in a Map, endpoints in another.

import { type CniHandlers, createHandlers } from '../../src/cni/handlers.ts'
import type { CniEvent, Endpoints, InspectedInterface, Site, Wiring } from '../../src/cni/interfaces.ts'
import type { CniReply, CniRequest } from '../../src/cni/protocol.ts'
import type { Address } from '../../src/core/address.ts'
import { family, type Prefix } from '../../src/core/address.ts'
import { type Ipam, openIpam } from '../../src/ipam/ipam.ts'
import type { JournalFile } from '../../src/ipam/journal.ts'
import type { Endpoint } from '../../src/world/objects.ts'
import { memoryFile } from './ipam.ts'

export const BOOT = 'boot-1'

export interface FakeNode {
  readonly handlers: CniHandlers
  readonly ipam: Ipam
  readonly file: JournalFile
  /** Interfaces of pods, by namespace path and name. */
  readonly pods: Map<string, InspectedInterface>
  /** Sites by name of the host side. */
  readonly hosts: Map<string, Site>
  readonly endpoints: Map<string, Endpoint>
  readonly events: CniEvent[]
  /** What fails next, by name of the call; called once in its place. */
  readonly failing: Map<'wire' | 'unwire' | 'join' | 'leave', (signal?: AbortSignal) => Promise<never>>
  unavailable: string | null
}

export interface FakeNodeOptions {
  readonly file?: JournalFile
  readonly pools?: readonly string[]
  readonly bootId?: string
  /** What another node of the fake left in the kernel. */
  readonly kernel?: Pick<FakeNode, 'pods' | 'hosts'>
}

export async function fakeNode(options: FakeNodeOptions = {}): Promise<FakeNode> {
  const { file = memoryFile(), pools = ['10.1.0.0/29', 'fd00::/125'], bootId = BOOT } = options
  const { pods = new Map(), hosts = new Map() } = options.kernel ?? {}
  const endpoints: FakeNode['endpoints'] = new Map()
  const failing: FakeNode['failing'] = new Map()
  const events: CniEvent[] = []
  const ipam = await openIpam({
    file,
    source: { pools: () => pools.map((prefix) => ({ prefix: prefix as Prefix, reserved: [] })), problems: () => [] },
    now: () => ({ bootId, ms: 0 }),
  })

  async function failOnce(call: 'wire' | 'unwire' | 'join' | 'leave', signal?: AbortSignal): Promise<void> {
    const failure = failing.get(call)
    failing.delete(call)
    await failure?.(signal)
  }

  async function makeWire(site: Site, addresses: readonly Address[]): Promise<void> {
    await failOnce('wire')
    const key = `${site.netnsPath} ${site.ifname}`
    if (pods.has(key) || hosts.has(site.hostIfname)) {
      throw Object.assign(new Error(`${site.ifname} exists`), { code: 'EEXIST' })
    }
    pods.set(key, {
      mac: '02:00:00:00:00:02',
      up: true,
      addresses,
      routes: addresses.map((address) => ({ destination: everywhere(address), gateway: gateway(address) })),
      peerIsOurs: true,
    })
    hosts.set(site.hostIfname, site)
  }

  const wiring: Wiring = {
    wire(site, addresses) {
      const mac = { hostMac: '02:00:00:00:00:01', podMac: '02:00:00:00:00:02' }
      const wired = { ifindex: hosts.size + 1, ...mac, mtu: 1450, netnsCookie: 7n }
      return { wired, done: makeWire(site, addresses) }
    },
    async unwire(hostIfname) {
      await failOnce('unwire')
      const site = hosts.get(hostIfname)
      if (site !== undefined) pods.delete(`${site.netnsPath} ${site.ifname}`)
      hosts.delete(hostIfname)
    },
    async inspect(site) {
      return pods.get(`${site.netnsPath} ${site.ifname}`) ?? null
    },
    gateway,
  }
  const sink: Endpoints = {
    async join(endpoint, signal) {
      endpoints.set(`${endpoint.containerId}/${endpoint.ifname}`, endpoint)
      await failOnce('join', signal)
    },
    async leave({ containerId, ifname }) {
      await failOnce('leave')
      endpoints.delete(`${containerId}/${ifname}`)
    },
  }
  const node = { ipam, file, pods, hosts, endpoints, events, failing, unavailable: null as string | null }
  const handlers = createHandlers({
    ipam,
    wiring,
    endpoints: sink,
    bootId,
    unavailable: () => node.unavailable,
    report: (event) => events.push(event),
  })
  return Object.assign(node, { handlers })
}

/** Whether nothing of any attachment is left. */
export function isClean({ ipam, pods, hosts, endpoints }: FakeNode): boolean {
  return ipam.attachments().length === 0 && pods.size === 0 && hosts.size === 0 && endpoints.size === 0
}

export function cniRequest(command: string, changes: Partial<CniRequest> = {}, config: object = {}): CniRequest {
  return {
    command,
    containerId: 'c1',
    netns: '',
    ifname: 'eth0',
    args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart;K8S_POD_UID=1b4e',
    path: '/opt/cni/bin',
    config: JSON.stringify({ cniVersion: '1.1.0', name: 'heddle', type: 'heddle-cni', ...config }),
    ...changes,
  }
}

/** The reply as a shim that takes it sees it. */
export async function ask(node: Pick<FakeNode, 'handlers'>, request: CniRequest): Promise<CniReply> {
  const reply = await node.handlers.handle(request)
  reply.delivered(true)
  return reply
}

function gateway(address: Address): Address {
  return (family(address) === 4 ? '169.254.1.1' : 'fe80::1') as Address
}

function everywhere(address: Address): Prefix {
  return (family(address) === 4 ? '0.0.0.0/0' : '::/0') as Prefix
}

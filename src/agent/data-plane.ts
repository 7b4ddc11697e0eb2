// SPDX-License-Identifier: Apache-2.0
// The part of the agent that begins once this node's own Node is known: programs and maps, the tables brought up to
// date, and only then the uplink, so that no packet meets programs with half of their tables.

import { join } from 'node:path'
import type { Logger } from 'pino'
import { type CniHandlers, createHandlers } from '../cni/handlers.ts'
import type { CniEvent } from '../cni/interfaces.ts'
import type { Prefix } from '../core/address.ts'
import { type BrokenInvariant, isBrokenInvariant } from '../core/errors.ts'
import { endpointOf } from '../ipam/attachment.ts'
import type { Ipam } from '../ipam/ipam.ts'
import type { Addon } from '../kernel/addon.ts'
import type { Kernel } from '../kernel/apply.ts'
import { isCode } from '../kernel/kernel-error.ts'
import { createLiveKernel } from '../kernel/live.ts'
import { type Datapath, openDatapath } from '../kernel/loader.ts'
import type { NodeNetwork } from '../kernel/node-network.ts'
import { deleteNodeRoute, putNodeRoute, putPodBlackholes, readNodeRoutes, repairPodRoutes } from '../kernel/routes.ts'
import { closeSorter, openSorter, startSorter } from '../kernel/sorter.ts'
import { sameValue } from '../world/equal.ts'
import type { Kind, Node } from '../world/objects.ts'
import type { World } from '../world/world.ts'
import { type Config, policySettings } from './config.ts'
import { startLoads } from './loads.ts'
import { type Loop, startLoop } from './loop.ts'
import {
  examineNode,
  findGateways,
  findNodePortAddresses,
  type LocalNode,
  nodeConfigOf,
  prepareNode,
} from './node-setup.ts'
import { createEndpoints, createWiring } from './pods.ts'
import { findCgroup, maySortFragments } from './preflight.ts'
import { createHealthPorts, type HealthPorts } from './proxy-health.ts'
import { type Applied, createReconciler, type Reconciler } from './reconcile.ts'
import { cutRemovedBackends, goneOf } from './removed-backends.ts'
import { openRuleUses, type RuleUses } from './rule-uses.ts'
import { openSeed } from './seed.ts'
import type { ServiceSync } from './service-sync.ts'
import type { TrafficSources } from './service-traffic.ts'

export interface DataPlaneOptions {
  readonly addon: Addon
  readonly network: NodeNetwork
  readonly config: Config
  readonly world: World
  readonly node: Node
  readonly ipam: Ipam
  readonly bootId: string
  readonly log: Logger
  readonly serviceSync: ServiceSync
  readonly onApplied: (applied: Applied) => void
  readonly onSuccess: () => void
  readonly onFailure: (error: unknown, retryMs: number) => void
  readonly onBroken: (error: BrokenInvariant) => void
  readonly onCni: (event: CniEvent) => void
  /** null when ADD can be served, else why not. */
  readonly unavailable: () => string | null
  /** Kinds of which not every object is known yet. */
  readonly unseenKinds: () => ReadonlySet<Kind>
  /** Aborts when the agent is stopping: nobody waits for a pass any more. */
  readonly signal: AbortSignal
}

export interface DataPlane {
  readonly local: LocalNode
  readonly datapath: Datapath
  readonly kernel: Kernel
  readonly reconciler: Reconciler
  readonly loop: Loop
  readonly handlers: CniHandlers
  readonly healthPorts: HealthPorts
  readonly ruleUses: RuleUses
  readonly trafficSources: () => TrafficSources
  /** The own Node object is another one: new pod CIDRs take effect, new InternalIPs with the next start. */
  nodeChanged(node: Node): Promise<void>
  /** Ends the loop and closes descriptors; everything stays in force. */
  stop(): Promise<void>
}

/** Resolves when what World says is in force and every hook is attached. */
export async function startDataPlane(options: DataPlaneOptions): Promise<DataPlane> {
  const { addon, network, config, world, node, ipam, log } = options
  const examined = await examineNode(network, config, node)
  await prepareNode(network, config, examined)
  const local = { ...examined, sorter: await findSorter(options, examined.podMtu) }
  await using starting = new AsyncDisposableStack()
  const datapath = await openDatapath(addon, {
    bpffs: config.bpffs,
    objectsDir: config.objectsDir,
    config: { ...nodeConfigOf(config, local, ownCookie(addon)), seed: openSeed(join(config.stateDir, 'seed')) },
    sizes: config.mapSizes,
  })
  starting.use(datapath)
  if (local.sorter !== 0) {
    await datapath.attachSorter(local.sorter)
    await startSorter(network, local.sorter)
  }
  const routes = {
    read: () => readNodeRoutes(network),
    put: (route: Parameters<typeof putNodeRoute>[1]) => putNodeRoute(network, route),
    delete: (route: Parameters<typeof deleteNodeRoute>[1]) => deleteNodeRoute(network, route),
  }
  const kernel = createLiveKernel(addon, datapath.maps, routes)
  const reconciler = createReconciler({
    world,
    kernel,
    unseenKinds: options.unseenKinds,
    node: {
      nodeName: config.nodeName,
      mode: config.mode,
      serviceCIDRs: config.serviceCIDRs,
      ownAddresses: node.internalIPs,
      uplink: local.uplink.ifindex,
      uplinkMtu: local.uplink.mtu,
    },
    policy: policySettings(config),
    gateways: (addresses) => findGateways(network, local.uplink, addresses),
    nodePortAddresses: () => findNodePortAddresses(network, config, node),
    async onRemovedBackends(backends, store) {
      const paths = ipam.attachments().map(({ netns }) => netns.path)
      const isGone = goneOf(world, backends, config.serviceResetTCP)
      const cut = await cutRemovedBackends(addon, datapath, store, paths, isGone)
      if (cut.sockets + cut.translations > 0) log.info(cut, 'flows to removed backends cut')
    },
    onApplied: options.onApplied,
  })
  const { onSuccess, onFailure, onBroken } = options
  const ruleUses = await openRuleUses(addon, datapath.maps.rule_uses)
  const trafficSources = (): TrafficSources => ({
    addon,
    fds: datapath.maps,
    world,
    netnsPaths: ipam.attachments().map(({ netns }) => netns.path),
    nodeName: config.nodeName,
    nodeCookie: ownCookie(addon),
  })
  const loads = startLoads({
    sources: trafficSources,
    services: () => reconciler.compiled().services,
    onError: (err) => log.warn({ err }, 'connections are not counted: their Services are balanced at random'),
  })
  starting.defer(() => loads.stop())
  const holdPodCIDRs = createPodCIDRHolder(network, reconciler, log)
  const { serviceSync } = options
  const healthPorts = createHealthPorts(
    config.nodePortAddresses.length === 0 ? [] : await findNodePortAddresses(network, config, node),
    () => serviceSync.health().isHealthy,
    log,
  )
  starting.defer(() => healthPorts.close())
  /** Observation only: without it everything else goes on. */
  function countRules(): void {
    try {
      ruleUses.sync(reconciler.compiled().policies, options.unseenKinds().size === 0)
    } catch (err) {
      if (isBrokenInvariant(err)) throw err
      log.warn({ err }, 'rules are not counted')
    }
  }
  const pass = async (): Promise<void> => {
    serviceSync.begins()
    try {
      await reconciler.pass()
      countRules()
      await holdPodCIDRs()
    } catch (error) {
      serviceSync.failed()
      throw error
    }
    loads.sync()
    await healthPorts.sync(reconciler.compiled().services.healthChecks)
  }
  const loop = startLoop({ pass, onSuccess, onFailure, onBroken })
  starting.defer(() => loop.stop())
  const handlers = createHandlers({
    ipam,
    wiring: createWiring(network, datapath, local),
    endpoints: createEndpoints(world, loop, reconciler.isInForce, options.signal),
    bootId: options.bootId,
    unavailable: options.unavailable,
    report: options.onCni,
  })
  for (const { containerId, pod } of await handlers.collect()) {
    log.info({ containerId, pod: `${pod.namespace}/${pod.name}` }, 'removed an attachment whose pod is gone')
  }
  await restorePods(options, datapath, local)
  await loop.settled({ signal: options.signal })
  await datapath.attachUplink(local.uplink.ifindex)
  await datapath.attachCgroup(findCgroup(config)!)
  await datapath.finishTakeover()
  const stack = starting.move()
  return {
    local,
    datapath,
    kernel,
    reconciler,
    loop,
    handlers,
    healthPorts,
    ruleUses,
    trafficSources,
    async nodeChanged(changed) {
      if (!sameValue(changed.internalIPs, node.internalIPs)) {
        log.warn(
          { now: changed.internalIPs, known: node.internalIPs },
          'this node has other InternalIPs: restart the agent',
        )
      }
    },
    stop: () => stack.disposeAsync(),
  }
}

/** 0: there is none. Everything else goes on without it. */
async function findSorter({ network, config, log }: DataPlaneOptions, ipv4Mtu: number): Promise<number> {
  if (!maySortFragments()) return 0
  try {
    return await openSorter(network, config.bpffs, ipv4Mtu)
  } catch (err) {
    log.warn({ err }, 'fragments that come before the first of their datagram are dropped')
    await closeSorter(network, config.bpffs)
    return 0
  }
}

/** What the node's stack does with its own pod CIDRs, brought up to date after a pass that changed them. */
function createPodCIDRHolder(network: NodeNetwork, { compiled }: Reconciler, log: Logger): () => Promise<void> {
  let held: readonly Prefix[] | undefined
  let known: readonly string[] = []
  return async () => {
    const { ownPodCIDRs, ownProblems } = compiled().routing
    if (!sameValue(ownProblems, known)) {
      known = ownProblems
      for (const problem of ownProblems) log.error(`${problem}: pods of this node must wait for addresses`)
    }
    if (sameValue(ownPodCIDRs, held)) return
    await putPodBlackholes(network, ownPodCIDRs)
    held = ownPodCIDRs
  }
}

/** Pods that were wired before this start: their programs are replaced by these, their entries are desired again. */
async function restorePods(
  { ipam, network, world, log }: DataPlaneOptions,
  datapath: Datapath,
  { nodeAddresses }: LocalNode,
): Promise<void> {
  for (const attachment of ipam.attachments()) {
    const endpoint = endpointOf(attachment)
    if (endpoint === null) continue // an ADD that nobody answered: the runtime repeats it or deletes it
    try {
      await datapath.attachPod(endpoint.ifindex, endpoint.hostIfname)
      world.putEndpoint(endpoint)
    } catch (error) {
      if (!isCode(error, 'ENODEV', 'ENOENT')) throw error
      log.warn(
        { pod: `${endpoint.namespace}/${endpoint.name}`, device: endpoint.hostIfname },
        'the device of a pod is gone',
      )
    }
  }
  const repaired = await repairPodRoutes(network, [...world.endpoints()], nodeAddresses)
  if (repaired > 0) log.info({ routes: repaired }, 'routes to pods repaired')
}

/** Of this process's network namespace. */
export function ownCookie(addon: Addon): bigint {
  const netns = addon.openNetns('/proc/self/ns/net')
  try {
    return addon.netnsCookie(netns)
  } finally {
    addon.closeFd(netns)
  }
}

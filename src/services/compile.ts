// SPDX-License-Identifier: Apache-2.0
// Dirty Services -> their frontends, and beside them what no table holds: what health checks answer and what is ignored.
// Cost of a change: its Services, all of them when this node's place changes.

import type { Port } from '../core/address.ts'
import { objectName } from '../core/names.ts'
import { sameValue } from '../world/equal.ts'
import { Algorithm, type ObjectName } from '../world/objects.ts'
import type { Dirty, WorldView } from '../world/world.ts'
import { type Ignored, ignoredIn } from './endpoints.ts'
import { type Frontend, localReadyCount, type ServicePlace, serviceFrontends } from './frontends.ts'

export interface HealthCheck {
  readonly port: Port
  /** Ready endpoints on this node. */
  readonly localEndpoints: number
}

export interface CompiledServices {
  readonly place: ServicePlace
  /** Of Services with a healthCheckNodePort. */
  readonly healthChecks: ReadonlyMap<ObjectName, HealthCheck>
  /** What of their slices is not used, and how often; Services without such are not in it. */
  readonly ignored: ReadonlyMap<ObjectName, ReadonlyMap<Ignored, number>>
  /** Services whose connections must be counted. */
  readonly counted: ReadonlySet<ObjectName>
}

export type ServiceInput = Omit<ServicePlace, 'zone'>

export interface ServiceCompiler {
  /** Frontends of every Service that may have changed; none for one that is gone. Compiled as they are iterated, once:
   *  of 10,000 Services at a start they would take 30 MB together. */
  compile(world: WorldView, dirty: Dirty, input: ServiceInput): Iterable<readonly [ObjectName, readonly Frontend[]]>
  frontends(world: WorldView, name: ObjectName): readonly Frontend[]
  readonly compiled: CompiledServices
}

const ZONE_LABEL = 'topology.kubernetes.io/zone'

export function createServiceCompiler(): ServiceCompiler {
  const healthChecks = new Map<ObjectName, HealthCheck>()
  const ignored = new Map<ObjectName, ReadonlyMap<Ignored, number>>()
  const counted = new Set<ObjectName>()
  let place: ServicePlace = { nodeName: '', zone: '', nodePortAddresses: [] }

  function compileOne(world: WorldView, name: ObjectName): readonly Frontend[] {
    healthChecks.delete(name)
    ignored.delete(name)
    counted.delete(name)
    const service = world.service(name)
    if (service === undefined) return []
    const slices = [...world.slicesOfService(name)]
    if (service.healthCheckNodePort !== null) {
      const localEndpoints = localReadyCount(slices, place.nodeName)
      healthChecks.set(name, { port: service.healthCheckNodePort, localEndpoints })
    }
    const counts = service.clusterIPs.length === 0 ? null : ignoredIn(service.ports, slices)
    if (counts !== null) ignored.set(name, counts)
    if (service.balancing.algorithm === Algorithm.LEAST_CONNECTIONS) counted.add(name)
    return serviceFrontends(service, slices, place)
  }

  return {
    frontends: compileOne,
    compiled: {
      get place() {
        return place
      },
      healthChecks,
      ignored,
      counted,
    },
    *compile(world, dirty, { nodeName, nodePortAddresses }) {
      const now = { nodeName, zone: world.node(nodeName)?.labels[ZONE_LABEL] ?? '', nodePortAddresses }
      const names = new Set(dirty.services)
      if (!sameValue(now, place)) {
        place = now
        for (const { namespace, name } of world.services()) names.add(objectName(namespace, name))
      }
      for (const name of names) yield [name, compileOne(world, name)]
    },
  }
}

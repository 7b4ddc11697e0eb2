// SPDX-License-Identifier: Apache-2.0
// The names behind the ids and addresses of events.

import type { Address } from '../core/address.ts'
import { objectName, podId, serviceId, servicePortName } from '../core/names.ts'
import type { Compiled } from '../datapath/compile.ts'
import type { Names } from '../observe/events.ts'
import { isolating } from '../policy/verdict.ts'
import type { WorldView } from '../world/world.ts'

/** How long a table of names may be behind World. */
const STALE_MS = 1_000

export function createNames(world: WorldView, compiled: () => Compiled): Names {
  const services = rebuilt(() => serviceNames(world))
  const pods = rebuilt(() => new Map([...world.endpoints()].map(podEntry)))
  return {
    pod: (id) => pods().get(id),
    rule: (id) => compiled().policies.rules.get(id),
    isolating: (set, audited) => isolating(compiled().policies.sets.get(set), audited),
    service: (id) => services().get(id),
    address: (address: Address) => world.ownerOf(address) ?? world.nodeAt(address)?.name,
  }
}

function podEntry({ namespace, name }: { namespace: string; name: string }): [bigint, string] {
  const pod = objectName(namespace, name)
  return [podId(pod), pod]
}

/** Id of a Service's port -> "namespace/name:port". Cost: all Services. */
export function serviceNames(world: WorldView): Map<bigint, string> {
  const names = new Map<bigint, string>()
  for (const { namespace, name, ports } of world.services()) {
    for (const port of ports) {
      const text = servicePortName(objectName(namespace, name), port.name, port.port)
      names.set(serviceId(text), text)
    }
  }
  return names
}

/** Built when somebody asks, and again once it is stale: nobody pays for names while no packet is dropped. */
function rebuilt<T>(build: () => T): () => T {
  let built: { readonly value: T; readonly atMs: number } | undefined
  return () => {
    if (built === undefined || performance.now() - built.atMs > STALE_MS) {
      built = { value: build(), atMs: performance.now() }
    }
    return built.value
  }
}

// SPDX-License-Identifier: Apache-2.0
// What must stay in the kernel while not everything is known: an agent that starts without an API server knows less than
// the tables do. Nothing is taken away that an object not seen yet may want; what is known to be right is written.

import type { Id64 } from '../core/id64.ts'
import { serverClassId } from '../policy/classes.ts'
import { type Kind, POLICY_KINDS } from '../world/objects.ts'
import type { WorldView } from '../world/world.ts'
import type { Difference } from './desired.ts'
import type { RouteDifferences } from './plan.ts'
import { readKey, readValue, type TableName } from './tables.ts'

/** Whose objects make the entries of a table. */
const makers: Readonly<Record<TableName, readonly Kind[]>> = {
  backends: ['Service', 'EndpointSlice'],
  slot_tables: ['Service', 'EndpointSlice'],
  source_ranges: ['Service'],
  frontends: ['Service', 'EndpointSlice'],
  nexthops: ['Node'],
  nodes: ['Node'],
  routes: ['Node', 'ServiceCIDR'],
  // Nodes and API servers are peers too, and a node's pod CIDR has a class.
  policies: [...POLICY_KINDS, 'Pod', 'Namespace', 'Node', 'EndpointSlice'],
  class_prefixes: [...POLICY_KINDS, 'Pod', 'Node'],
  classes: [...POLICY_KINDS, 'Pod', 'Namespace', 'Node', 'EndpointSlice'],
  endpoints: [],
  endpoint_cookie: [],
}

/** Whose objects make the class of an address that is no pod's and no API server's. */
const makersOfNobodys: readonly Kind[] = [...POLICY_KINDS, 'Node']

/** Whether a difference is left as it is; null: none is. classNames: of the classes that are desired. */
export function holdUnseen(
  unseen: ReadonlySet<Kind>,
  world: Pick<WorldView, 'ownerOf'>,
  classNames: ReadonlyMap<Id64, string>,
): ((table: TableName, difference: Difference) => boolean) | null {
  if (unseen.size === 0) return null
  return (table, { key, desired, actual }) => {
    if (actual === undefined) return false
    const isUnseen = (kinds: readonly Kind[]) => kinds.some((kind) => unseen.has(kind))
    // An address that somebody else has now must not keep the class of the one before.
    if (table === 'classes' && world.ownerOf(readKey('classes', key).address) !== undefined) return false
    if (desired === undefined) return isUnseen(makers[table])
    if (table === 'classes')
      return isUnseen(makersOfNobodys) || (unseen.has('EndpointSlice') && isServerToo(desired, actual, classNames))
    return table === 'endpoints' && isUnseen(POLICY_KINDS) && isSameWire(desired, actual)
  }
}

/** The agent before this one knew the pod's policies; this one only those that the journal could tell. */
function isSameWire(desired: Difference['desired'] & {}, actual: Difference['actual'] & {}): boolean {
  const [a, b] = [readValue('endpoints', desired), readValue('endpoints', actual)]
  return a.netnsCookie === b.netnsCookie && a.ifindex === b.ifindex && !b.isolated
}

/** Slices can only add that an API server is there: any other change is known to be right. */
function isServerToo(
  desired: Difference['desired'] & {},
  actual: Difference['actual'] & {},
  classNames: ReadonlyMap<Id64, string>,
): boolean {
  const name = classNames.get(readValue('classes', desired).classId)
  return name !== undefined && readValue('classes', actual).classId === serverClassId(name)
}

export function heldRoutes(unseen: ReadonlySet<Kind>, { put, delete: gone }: RouteDifferences): RouteDifferences {
  return { put, delete: unseen.has('Node') ? [] : gone }
}

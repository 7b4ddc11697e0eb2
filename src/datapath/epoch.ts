// SPDX-License-Identifier: Apache-2.0
// Which writes may deny what a conntrack entry still allows, or move where it leads: only those cost every flow a new
// evaluation (bpf/abi/policy.h struct policy_epoch).

import { PolicyVerdict } from '../generated/abi.ts'
import type { Difference } from './desired.ts'
import { readValue, type TableName } from './tables.ts'

/** True when the flows that are known must be judged again after this write. */
export function mustRejudge(table: TableName, { desired, actual }: Difference): boolean {
  switch (table) {
    case 'backends':
    case 'slot_tables':
    case 'frontends':
    case 'source_ranges':
    case 'endpoint_cookie':
      return false // conntrack caches no choice of a backend: a translated flow keeps its own
    case 'nodes':
    case 'routes':
      return true
    case 'nexthops':
      return actual !== undefined
    case 'policies':
      // A deleted entry either allowed, or it was an exception within another one.
      return desired === undefined || readValue(table, desired).verdict !== PolicyVerdict.ALLOW
    case 'class_prefixes':
    case 'classes':
      return true // another class, or the class of a prefix around it
    case 'endpoints':
      return endpointMustRejudge(desired, actual)
  }
}

function endpointMustRejudge(desired: string | undefined, actual: string | undefined): boolean {
  if (actual === undefined) return false // to an address without an endpoint conntrack enters nothing
  if (desired === undefined) return true
  const after = readValue('endpoints', desired)
  const before = readValue('endpoints', actual)
  return (
    after.ifindex !== before.ifindex ||
    after.netnsCookie !== before.netnsCookie ||
    after.isolated > before.isolated ||
    (after.ingressSet !== 0n && after.ingressSet !== before.ingressSet) ||
    (after.egressSet !== 0n && after.egressSet !== before.egressSet)
  )
}

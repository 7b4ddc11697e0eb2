// SPDX-License-Identifier: Apache-2.0
// What Cilium's policies can say and Heddle refuses by name.

import { BadField, type Cursor, field } from './cursor.ts'
import { fieldsOf, onlyFields } from './fields.ts'

/** Fields that Cilium has and Heddle does not, each with what it would need. */
const unsupported: Readonly<Record<string, string>> = {
  nodeSelector: 'policies for nodes are not supported',
  fromNodes: 'nodes by labels are not supported',
  toNodes: 'nodes by labels are not supported',
  fromGroups: 'groups of other providers are not supported',
  toGroups: 'groups of other providers are not supported',
  fromRequires: 'requirements are not supported',
  toRequires: 'requirements are not supported',
  toFQDNs: 'names of domains are not supported',
  toServices: 'Services as peers are not supported',
  authentication: 'authentication is not supported',
  rules: 'rules of layer 7 are not supported',
  listener: 'listeners are not supported',
  serverNames: 'names of TLS servers are not supported',
  terminatingTLS: 'TLS is not supported',
  originatingTLS: 'TLS is not supported',
  cidrGroupRef: 'groups of CIDRs are not supported',
  cidrGroupSelector: 'groups of CIDRs are not supported',
}

/** Throws for a field that is none of `names`: says why, where it is one of Cilium's. */
export function supportedFields(object: Cursor, names: readonly string[]): void {
  const other = fieldsOf(object).find((name) => !names.includes(name) && Object.hasOwn(unsupported, name))
  if (other !== undefined) throw new BadField(field(object, other), unsupported[other]!)
  onlyFields(object, names)
}

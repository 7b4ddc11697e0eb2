// SPDX-License-Identifier: Apache-2.0
// The API servers' own addresses, remembered on disk: the Service `kubernetes` works only when this agent does.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { EndpointSlice } from '../world/objects.ts'

export interface ServerMemory {
  /** Base URLs, sorted. */
  servers(): readonly string[]
  /** Writes when it is another list; an empty one changes nothing. */
  remember(servers: readonly string[]): void
}

const SERVERS_MAX = 32

/** A missing or damaged file remembers nothing. */
export function openServerMemory(path: string): ServerMemory {
  let known = load(path)
  return {
    servers: () => known,
    remember(servers) {
      const sorted = [...new Set(servers)].sort().slice(0, SERVERS_MAX)
      if (sorted.length === 0 || sorted.join(' ') === known.join(' ')) return
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      writeFileSync(`${path}.new`, JSON.stringify(sorted), { mode: 0o600 })
      renameSync(`${path}.new`, path)
      known = sorted
    },
  }
}

/** The endpoints of default/kubernetes as base URLs. */
export function serversOf(slices: Iterable<EndpointSlice>): string[] {
  return [...slices].filter(isOfServers).flatMap(({ endpoints, ports }) => {
    const port = (ports.find(({ name }) => name === 'https') ?? ports[0])?.port ?? 443
    return endpoints
      .filter(({ ready }) => ready)
      .map(({ address }) => `https://${address.includes(':') ? `[${address}]` : address}:${port}`)
  })
}

export function isOfServers({ namespace, serviceName }: EndpointSlice): boolean {
  return namespace === 'default' && serviceName === 'kubernetes'
}

function load(path: string): readonly string[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (!Array.isArray(value)) return []
    const isServer = (item: unknown): boolean => typeof item === 'string' && URL.parse(item)?.protocol === 'https:'
    return value.filter(isServer).slice(0, SERVERS_MAX) as string[]
  } catch {
    return []
  }
}

// SPDX-License-Identifier: Apache-2.0
// The node's addresses and attachments: the allocator's state, made durable by the journal.

import { type Address, family } from '../core/address.ts'
import { invariant } from '../core/errors.ts'
import {
  chooseAddress,
  emptyState,
  type Fact,
  type Moment,
  type Pool,
  type PoolStatus,
  poolStatus,
  record,
  snapshot,
} from './allocator.ts'
import { type Attachment, type AttachmentId, attachmentKey, type Wired } from './attachment.ts'
import { type JournalFile, openJournal } from './journal.ts'
import type { PoolSource } from './pools.ts'
import { decodeFacts, encodeFacts } from './records.ts'

/** Bad luck as a value: the pool that has no address left. */
export interface Exhausted {
  readonly exhausted: PoolStatus
}

export type AllocationRequest = Omit<Attachment, 'addresses' | 'wired' | 'answered'>

export interface Ipam {
  readonly attachments: () => readonly Attachment[]
  readonly get: (id: AttachmentId) => Attachment | undefined
  /** Takes one address of each pool and records the attachment; one that is there already and was not answered keeps its
   *  addresses. It has reached the file when this resolves, the disk after sync. Rejects with the file's error; nothing
   *  is taken then. */
  readonly allocate: (request: AllocationRequest) => Promise<Attachment | Exhausted>
  /** Prepares the record that it is wired and that the runtime is about to get the result; the call of what this returns
   *  makes it, at once. In between nothing else may change the attachment. */
  readonly completion: (id: AttachmentId, wired: Wired) => () => Promise<Attachment>
  /** The runtime did not get the result: a repeated ADD completes the attachment. */
  readonly reopen: (id: AttachmentId) => Promise<void>
  /** Idempotent; the addresses rest 30 s. */
  readonly release: (id: AttachmentId) => Promise<void>
  /** Resolves when everything recorded so far is on the disk. */
  readonly sync: () => Promise<void>
  /** One of each pool that is used; empty until the node has podCIDRs. */
  readonly status: () => readonly PoolStatus[]
  /** Why pods must wait for addresses, one sentence each; exhaustion is not among them. */
  readonly problems: () => readonly string[]
  /** Lines of the journal that could not be read at start; a torn tail after a crash is one. */
  readonly damagedRecords: number
  readonly close: () => Promise<void>
}

export interface IpamOptions {
  readonly file: JournalFile
  readonly source: PoolSource
  readonly now: () => Moment
  /** Bytes below which the file is not replaced by its present state; the default suits a node. */
  readonly compactBytesMin?: number
}

export async function openIpam({ file, source, now, compactBytesMin }: IpamOptions): Promise<Ipam> {
  const { facts, damaged } = decodeFacts(await file.read())
  const state = emptyState()
  for (const fact of facts) record(state, fact)
  const journal = await openJournal(file, () => snapshot(state), compactBytesMin)

  function write(fact: Fact): Promise<void> {
    record(state, fact)
    return journal.append(encodeFacts([fact]))
  }

  function release(attachment: Attachment): Promise<void> {
    const { containerId, ifname, addresses } = attachment
    return write({ fact: 'drop', id: { containerId, ifname }, addresses, at: now() })
  }

  function choose(): readonly Address[] | Exhausted {
    const addresses: Address[] = []
    for (const pool of onePerFamily(source.pools())) {
      const address = chooseAddress(state, pool, now())
      if (address === null) return { exhausted: poolStatus(state, pool, now()) }
      addresses.push(address)
    }
    return addresses
  }

  /** Encodes the record; what it returns writes it. */
  function change(id: AttachmentId, changes: Partial<Attachment>): () => Promise<Attachment> {
    const before = state.attachments.get(attachmentKey(id))
    invariant(before !== undefined, `no attachment ${attachmentKey(id)}`)
    const attachment = { ...before, ...changes }
    const fact: Fact = { fact: 'put', attachment }
    const bytes = encodeFacts([fact], 2) // the only record of the wire
    return async () => {
      invariant(state.attachments.get(attachmentKey(id)) === before, `${attachmentKey(id)} changed meanwhile`)
      record(state, fact)
      await journal.append(bytes)
      return attachment
    }
  }

  return {
    attachments: () => [...state.attachments.values()],
    get: (id) => state.attachments.get(attachmentKey(id)),
    async allocate(request) {
      const before = state.attachments.get(attachmentKey(request))
      invariant(!before?.answered, `${attachmentKey(request)} is allocated twice`)
      const addresses = before?.addresses ?? choose()
      if ('exhausted' in addresses) return addresses
      const attachment: Attachment = { ...request, addresses, wired: null, answered: false }
      try {
        await write({ fact: 'put', attachment })
      } catch (error) {
        // The journal replaces the whole file before it writes again, so this need not reach the file.
        await release(attachment).catch(() => {})
        throw error
      }
      return attachment
    },
    completion: (id, wired) => change(id, { wired, answered: true }),
    async reopen(id) {
      await change(id, { answered: false })()
    },
    async release(id) {
      const attachment = state.attachments.get(attachmentKey(id))
      if (attachment !== undefined) await release(attachment)
    },
    sync: () => journal.sync(),
    status: () => onePerFamily(source.pools()).map((pool) => poolStatus(state, pool, now())),
    problems() {
      const problems = source.problems()
      return problems.length > 0 || source.pools().length > 0 ? problems : ['the node has no pod CIDR yet']
    },
    damagedRecords: damaged,
    close: () => journal.close(),
  }
}

function onePerFamily(pools: readonly Pool[]): readonly Pool[] {
  return ([4, 6] as const).flatMap((wanted) => pools.find(({ prefix }) => family(prefix) === wanted) ?? [])
}

/** The clock of the journal: CLOCK_MONOTONIC runs on across restarts of the process, and a boot begins a new one. */
export function bootClock(bootId: string): () => Moment {
  return () => ({ bootId, ms: Number(process.hrtime.bigint() / 1_000_000n) })
}

// SPDX-License-Identifier: Apache-2.0
// The CNI commands. Requests for one attachment run one after the other, others side by side.
//
// An attachment's life, in the journal: allocated -> answered -> released. Its record is written before the veth
// pair exists and removed after the pair is gone, so that whatever a crash leaves is known by name.

import { type Attachment, type AttachmentId, attachmentKey, endpointOf } from '../ipam/attachment.ts'
import type { Ipam } from '../ipam/ipam.ts'
import { checkAttachment } from './check.ts'
import type { CniEvent, Endpoints, Site, Wiring } from './interfaces.ts'
import { createLocks } from './locks.ts'
import { identifyNetns, isNetnsGone } from './netns.ts'
import {
  answerVersion,
  type CniCommand,
  type CniError,
  CniErrorCode,
  type CniReply,
  type CniRequest,
  cniError,
  isCniError,
  parseCommand,
} from './protocol.ts'
import { attachmentResult, formatResult } from './results.ts'

export interface CniParts {
  readonly ipam: Ipam
  readonly wiring: Wiring
  readonly endpoints: Endpoints
  /** ipam/journal.ts bootId(). */
  readonly bootId: string
  /** null when ADD can be served, else why not (one sentence), for STATUS. */
  readonly unavailable: () => string | null
  readonly report: (event: CniEvent) => void
}

export interface CniHandlers {
  /** Never rejects: every failure is a reply with the specification's error JSON. */
  readonly handle: (request: CniRequest) => Promise<CniReply>
  /** Removes every attachment whose network namespace is gone (after a reboot: all of them). The agent calls it at start,
   *  before it restores endpoints, and once a minute. Resolves to those removed; what fails stays for the next time. */
  readonly collect: () => Promise<readonly Attachment[]>
}

/** How long an ADD waits for the endpoint's policy. */
const JOIN_TIMEOUT_MS = 10_000

type Command<Name> = Extract<CniCommand, { command: Name }>

/** Success: the output. */
type Outcome = { readonly output: string; readonly attachment?: Attachment } | CniError

/** A wire that is made, its endpoint in the tables. */
interface Ready {
  /** What ipam.completion gave. */
  readonly complete: () => Promise<Attachment>
  /** What the runtime gets. */
  readonly output: string
}

/** Name of the host side of an attachment's veth pair; always the same for the same attachment. 48 bits tell them apart; a
 *  runtime's IDs are random, and nobody gains from two alike (EEXIST). Not of node:crypto, which costs an ADD 50 us. */
export function hostIfname(id: AttachmentId): string {
  const key = attachmentKey(id)
  let first = 0x811c9dc5 // FNV-1a
  let second = 0
  for (let i = 0; i < key.length; i++) {
    const code = key.charCodeAt(i)
    first = Math.imul(first ^ code, 0x01000193)
    second = Math.imul((second << 13) ^ (second >>> 19) ^ code, 0x85ebca6b)
  }
  return `hd${hex(first >>> 16, 4)}${hex(second >>> 0, 8)}`
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}

export function createHandlers({ ipam, wiring, endpoints, bootId, unavailable, report }: CniParts): CniHandlers {
  const locks = createLocks()

  async function add(command: Command<'ADD'>): Promise<Outcome> {
    const { id, config, pod, prevResult } = command
    const found = ipam.get(id)
    if (found?.answered) {
      return cniError(CniErrorCode.ALREADY_ATTACHED, `${attachmentKey(id)} is attached already`, 'DEL it first')
    }
    const netns = await attempt(async () => identifyNetns(command.netns, bootId), netnsRefused)
    if (isCniError(netns)) return netns
    const [problem] = ipam.problems()
    if (problem !== undefined) return cniError(CniErrorCode.TRY_AGAIN_LATER, 'pods must wait for addresses', problem)
    // What an ADD that nobody answered left behind is made anew, with the same addresses.
    if (found !== undefined) await unwire(found)

    const request = { ...id, network: config.name, netns, pod, hostIfname: hostIfname(id) }
    const allocated = await attempt(() => ipam.allocate(request), journalFailed)
    if (isCniError(allocated)) return allocated
    if ('exhausted' in allocated) {
      const { prefix, capacity, used, resting } = allocated.exhausted
      const details = `all ${capacity} addresses are taken (${used} in use, ${resting} resting)`
      return cniError(CniErrorCode.POOL_EXHAUSTED, `pool ${prefix} is exhausted`, details)
    }
    return attach(allocated, (attachment) => {
      const gateways = attachment.addresses.map((address) => wiring.gateway(address))
      return formatResult(config.cniVersion, attachmentResult(attachment, gateways, prevResult, config.dns))
    })
  }

  /** Wires, joins and completes an allocated attachment; on failure nothing of it is left. */
  async function attach(allocated: Attachment, describe: (attachment: Attachment) => string): Promise<Outcome> {
    const ready = await wireAndJoin(allocated, describe)
    // Written before the reply and in the same turn: a process killed afterwards knows on its return that it answered, one
    // killed before has not.
    const outcome = isCniError(ready) ? ready : await attempt(() => complete(ready), journalFailed)
    if (!isCniError(outcome)) return outcome
    const left = await attempt(() => remove(allocated), kernelFailed)
    return left === undefined ? outcome : { ...outcome, details: `${outcome.details}; ${left.msg}: ${left.details}` }
  }

  async function complete({ complete, output }: Ready): Promise<Outcome> {
    return { output, attachment: await complete() }
  }

  /** The tables take the endpoint in, and result and record are put into words, while the kernel makes the wire. Waits for all also
   *  when one fails: what is undone then must not be done after it. */
  async function wireAndJoin(
    allocated: Attachment,
    describe: (attachment: Attachment) => string,
  ): Promise<Ready | CniError> {
    const wire = await attempt(async () => wiring.wire(siteOf(allocated), allocated.addresses), wireFailed)
    if (isCniError(wire)) return wire
    const { wired, done } = wire
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(new Error(`not within ${JOIN_TIMEOUT_MS} ms`)), JOIN_TIMEOUT_MS)
    const endpoint = endpointOf({ ...allocated, wired })!
    const joining = attempt(() => endpoints.join(endpoint, late.signal), joinFailed)
    const output = describe({ ...allocated, wired })
    const complete = ipam.completion(allocated, wired)
    const made = await attempt(() => done, wireFailed)
    if (made !== undefined) late.abort(made.cause)
    const joined = await joining
    clearTimeout(timer)
    return made ?? joined ?? { complete, output }
  }

  async function unwire(attachment: AttachmentId & { readonly hostIfname: string }): Promise<void> {
    await wiring.unwire(attachment.hostIfname)
    await endpoints.leave(attachment)
  }

  async function remove(attachment: AttachmentId & { readonly hostIfname: string }): Promise<void> {
    await unwire(attachment)
    await ipam.release(attachment)
  }

  async function del({ id }: Command<'DEL'>): Promise<Outcome> {
    // Also for what the journal does not know: the name alone says what there may be to remove. What it knows may have been
    // named by another version.
    await remove(ipam.get(id) ?? { ...id, hostIfname: hostIfname(id) })
    return { output: '' }
  }

  async function check({ id, netns, prevResult }: Command<'CHECK'>): Promise<Outcome> {
    const attachment = ipam.get(id)
    if (attachment === undefined) {
      return cniError(CniErrorCode.UNKNOWN_CONTAINER, `${attachmentKey(id)} is not attached`)
    }
    const inspected = await wiring.inspect({ ...siteOf(attachment), netnsPath: netns })
    const gateways = attachment.addresses.map((address) => wiring.gateway(address))
    const problem = checkAttachment(attachment, gateways, prevResult, inspected)
    return problem === null
      ? { output: '' }
      : cniError(CniErrorCode.CHECK_FAILED, `${attachmentKey(id)} is broken`, problem)
  }

  async function gc({ config, valid }: Command<'GC'>): Promise<Outcome> {
    const kept = valid === null ? null : new Set(valid.map(attachmentKey))
    const { problems } = await removeEach((attachment) => {
      if (attachment.network !== config.name) return false
      return kept === null ? isNetnsGone(attachment.netns, bootId) : !kept.has(attachmentKey(attachment))
    })
    if (problems.length === 0) return { output: '' }
    return cniError(CniErrorCode.KERNEL_REFUSED, `${problems.length} attachments could not be removed`, problems[0])
  }

  /** Those that a request is working on are left alone: they are not stale. */
  async function removeEach(isStale: (attachment: Attachment) => boolean) {
    const removed: Attachment[] = []
    const problems: string[] = []
    for (const attachment of ipam.attachments()) {
      const unlock = locks.tryAcquire(attachmentKey(attachment))
      if (unlock === null) continue
      try {
        if (ipam.get(attachment) !== attachment || !isStale(attachment)) continue
        await remove(attachment)
        removed.push(attachment)
      } catch (error) {
        problems.push(`${attachmentKey(attachment)}: ${messageOf(error)}`)
      } finally {
        unlock()
      }
    }
    return { removed, problems }
  }

  function status(): Outcome {
    // Exhausted or disputed pools are no reason: they would make the node NotReady, and kubelet would evict the pods that
    // hold their addresses.
    const problem = ipam.status().length === 0 ? ipam.problems()[0]! : unavailable()
    return problem === null ? { output: '' } : cniError(CniErrorCode.NOT_AVAILABLE, 'ADD cannot be served', problem)
  }

  async function run(command: CniCommand): Promise<Outcome> {
    switch (command.command) {
      case 'ADD':
        return add(command)
      case 'DEL':
        return del(command)
      case 'CHECK':
        return check(command)
      case 'GC':
        return gc(command)
      case 'STATUS':
        return status()
    }
  }

  async function handle(request: CniRequest): Promise<CniReply> {
    const start = performance.now()
    const command = parseCommand(request)
    if (isCniError(command)) return reply(request, start, command)
    const unlock = 'id' in command ? await locks.acquire(attachmentKey(command.id)) : () => {}
    const outcome = await run(command).catch((error: unknown) => kernelFailed(error))
    return reply(request, start, outcome, (whole) => settle(outcome, whole).finally(unlock))
  }

  /** An ADD whose result the runtime did not get stays open for completion. */
  async function settle(outcome: Outcome, whole: boolean): Promise<void> {
    if (!isCniError(outcome) && outcome.attachment !== undefined && !whole) {
      // Should the file refuse, a repeated ADD after a restart is an error, until the runtime deletes the attachment.
      await ipam.reopen(outcome.attachment).catch(() => {})
    }
    // Nobody waits for the disk: a record that a power cut loses names a network namespace that is gone too (ADR 0010).
    // Where the disk refuses, the journal writes itself anew with the next record.
    ipam.sync().catch(() => {})
  }

  function reply(
    request: CniRequest,
    start: number,
    outcome: Outcome,
    delivered: (whole: boolean) => unknown = () => {},
  ): CniReply {
    const error = isCniError(outcome) ? outcome : null
    const attachment = isCniError(outcome) ? undefined : outcome.attachment
    const { command, containerId, ifname } = request
    const addresses = attachment?.addresses ?? []
    const event = { command, containerId, ifname, pod: podText(attachment), addresses, error }
    const durationMs = performance.now() - start
    return {
      exitCode: error === null ? 0 : 1,
      output: isCniError(outcome) ? formatError(answerVersion(request.config), outcome) : outcome.output,
      delivered(whole) {
        void delivered(whole)
        report({ ...event, durationMs })
      },
    }
  }

  return {
    handle,
    collect: async () => (await removeEach(({ netns }) => isNetnsGone(netns, bootId))).removed,
  }
}

export function formatError(version: string, { code, msg, details }: CniError): string {
  return JSON.stringify({ cniVersion: version, code, msg, details })
}

function siteOf({ netns, ifname, hostIfname }: Attachment): Site {
  return { netnsPath: netns.path, ifname, hostIfname }
}

function podText(attachment: Attachment | undefined): string {
  const { namespace, name } = attachment?.pod ?? { namespace: '', name: '' }
  return name === '' ? '' : `${namespace}/${name}`
}

/** The value of the work, or its failure as a CniError. */
async function attempt<T>(work: () => Promise<T>, describe: (cause: unknown) => CniError): Promise<T | CniError> {
  try {
    return await work()
  } catch (cause) {
    return describe(cause)
  }
}

function netnsRefused(cause: unknown): CniError {
  return cniError(CniErrorCode.INVALID_ENVIRONMENT, 'invalid CNI_NETNS', messageOf(cause), cause)
}

function journalFailed(cause: unknown): CniError {
  return cniError(CniErrorCode.IO_FAILURE, 'the address journal cannot be written', messageOf(cause), cause)
}

function wireFailed(cause: unknown): CniError {
  // A namespace of another kind: seen only when it is entered.
  if (cause instanceof Error && 'syscall' in cause && cause.syscall === 'ioctl(NS_GET_NSTYPE)')
    return netnsRefused(cause)
  const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST'
  return isTaken
    ? cniError(CniErrorCode.INTERFACE_EXISTS, 'the pod has an interface of that name already', messageOf(cause), cause)
    : cniError(CniErrorCode.KERNEL_REFUSED, 'the pod could not be wired', messageOf(cause), cause)
}

function joinFailed(cause: unknown): CniError {
  return cniError(CniErrorCode.TRY_AGAIN_LATER, "the pod's policy is not in force", messageOf(cause), cause)
}

function kernelFailed(cause: unknown): CniError {
  return cniError(CniErrorCode.KERNEL_REFUSED, 'the kernel or the agent failed', messageOf(cause), cause)
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

// SPDX-License-Identifier: Apache-2.0
// What native/addon offers, syscall-shaped, no Kubernetes noun; this file is its only importer's type.
// A call that can block returns a Promise and runs on the thread pool. Failures are KernelError-shaped:
// an Error with {code: 'ENOENT', errno: 2, syscall: 'bpf(BPF_OBJ_GET)'} and, for load, {verifierLog}.

import type { Family } from '../core/address.ts'

/** An open file descriptor; whoever gets one closes it, once. */
export type Fd = number & { readonly brand: 'Fd' }

export interface MapInfo {
  readonly name: string
  readonly type: number
  readonly keySize: number
  readonly valueSize: number
  readonly maxEntries: number
  readonly flags: number
}

/** An ELF object being prepared: open -> reuseMap/setMaxEntries/setRodata -> load -> fds -> close. */
export interface BpfObject {
  readonly maps: readonly MapInfo[]
  readonly programs: readonly { readonly name: string; readonly section: string }[]
  setMaxEntries(map: string, maxEntries: number): void
  /** The object uses this open map instead of creating its own; the fd stays the caller's. */
  reuseMap(map: string, fd: Fd): void
  /** Sets a `const volatile` variable by name. */
  setRodata(variable: string, bytes: Uint8Array): void
  setAutoload(program: string, autoload: boolean): void
  load(): Promise<void>
  /** A duplicate that outlives close(). */
  mapFd(map: string): Fd
  programFd(program: string): Fd
  /** Idempotent. */
  close(): void
}

export interface TestRun {
  readonly retval: number
  readonly data: Uint8Array
  readonly context: Uint8Array
  /** Mean of one run. */
  readonly durationNs: number
}

export interface Ring {
  close(): void
}

export interface MessageWord {
  /** Bytes from the start of nlmsghdr. */
  readonly offset: number
  readonly value: number
}

/** One netlink socket, opened in the namespace it was asked for; requests are serialised in order. */
export interface NetlinkSocket {
  /** Sends one message or several back to back (nlmsghdr included, each a multiple of 4 bytes; the addon fills in sequence
   *  and port; a dump stands alone) and resolves to the answers' messages (without DONE or a zero ACK). The kernel
   *  performs all, also after one that fails; rejects with the first failure's errno and extended-ack text. */
  request(messages: Uint8Array): Promise<readonly Uint8Array[]>
  /** For multicast groups: every further message goes to the callback; one of type NLMSG_OVERRUN (4), without a body, where
   *  some were lost. `only`: messages with that 32-bit word, in host order, at that offset; null: all. The socket then takes no
   *  requests. */
  subscribe(group: number, only: MessageWord | null, onMessage: (message: Uint8Array) => void): void
  close(): void
}

/** Messages (as NetlinkSocket.request takes them, no dump) of rtnetlink, or a setting, in one network namespace. */
export type NetworkStep =
  | { readonly netns: Fd; readonly messages: Uint8Array }
  /** `sysctl`: as writeSysctl takes it. */
  | { readonly netns: Fd; readonly sysctl: string; readonly value: string }

/** Of each step, in order; none of a setting. */
export type Answers = readonly (readonly Uint8Array[])[]

export interface Addon {
  readonly libbpfVersion: string
  openObject(elf: Uint8Array, name: string): BpfObject

  pin(fd: Fd, path: string): void
  /** Throws ENOENT when nothing is pinned there. */
  openPinned(path: string): Fd
  closeFd(fd: Fd): void

  mapInfo(fd: Fd): MapInfo & { readonly id: number }
  programInfo(fd: Fd): {
    readonly id: number
    readonly name: string
    readonly tag: string
    readonly verifiedInstructions: number
    readonly mapIds: readonly number[]
  }
  /** null: no such key. */
  mapLookup(fd: Fd, key: Uint8Array): Uint8Array | null
  /** flags: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2. */
  mapUpdate(fd: Fd, key: Uint8Array, value: Uint8Array, flags: number): void
  /** false: there was none. */
  mapDelete(fd: Fd, key: Uint8Array): boolean
  /** keys and values are count elements back to back; per-CPU maps are not for these. Falls back to single calls for map
   *  types without batch operations. Resolves to how many were done before a failure made it reject. */
  mapUpdateBatch(fd: Fd, keys: Uint8Array, values: Uint8Array, count: number): Promise<number>
  mapDeleteBatch(fd: Fd, keys: Uint8Array, count: number): Promise<number>
  /** Whole contents; LPM tries and arrays too. valueSize for per-CPU maps is rounded up to 8 x possible CPUs. */
  mapDump(fd: Fd): Promise<{ readonly keys: Uint8Array; readonly values: Uint8Array; readonly count: number }>
  /** How many entries there are; ends at the limit. About 0.3 us for each. */
  mapCount(fd: Fd, limit: number): Promise<number>
  possibleCpus(): number

  /** target: ifindex in the caller's network namespace, or an fd of a cgroup directory. attachType: enum bpf_attach_type
   *  (BPF_TCX_INGRESS 46, BPF_TCX_EGRESS 47, BPF_CGROUP_INET4_CONNECT 10 ...). */
  linkCreate(program: Fd, target: number, attachType: number): Promise<Fd>
  linkUpdate(link: Fd, program: Fd): void
  /** ifindex is 0 when the device has gone or the link is not a tcx one; cgroupId (the folder's inode number) is 0 when
   *  the folder has gone or the link is not a cgroup's. */
  linkInfo(link: Fd): {
    readonly id: number
    readonly programId: number
    readonly attachType: number
    readonly ifindex: number
    readonly cgroupId: bigint
  }
  testRun(program: Fd, data: Uint8Array, context: Uint8Array | null, repeat: number): Promise<TestRun>

  /** Records arrive in batches (at most 4096 per call): bytes holds them back to back, each recordSize long. After a
   *  wake-up the ring is drained every drainMs until a drain finds nothing; then it sleeps until woken. */
  openRing(fd: Fd, recordSize: number, drainMs: number, onRecords: (bytes: Uint8Array, count: number) => void): Ring

  /** protocol: NETLINK_ROUTE 0, NETLINK_SOCK_DIAG 4. netns null: the caller's. */
  openNetlink(protocol: number, netns: Fd | null): NetlinkSocket
  /** Fails unless the path is a network namespace (NS_GET_NSTYPE). */
  openNetns(path: string): Fd
  /** A new one, with nothing in it but a loopback device that is down; it ends with what holds it: this, or a link in it. */
  newNetns(): Fd
  netnsCookie(netns: Fd): bigint
  /** A link that has that namespace put fragments together before it routes them, and keeps it alive (Linux 6.6.59, 6.11.6).
   *  EINVAL, ENOENT or EOPNOTSUPP: this kernel cannot. */
  defragment(netns: Fd, family: Family): Promise<Fd>
  /** Has a file of the settings (its path, below /proc/sys/net) hold that value, as that namespace sees it. */
  writeSysctl(netns: Fd, path: string, value: string): void
  /** Performs the steps one after the other in one trip to the thread pool. A failure ends it: the messages of the step that
   *  failed were all performed, of later steps nothing. The descriptors stay open until it settles. */
  configure(steps: readonly NetworkStep[]): Promise<Answers>
  /** A listening Unix socket, bound there; it does not block. EADDRINUSE: there is a file. */
  listenAt(path: string): Fd
  /** The next connection, which does not block either; null: nobody waits. */
  acceptFrom(listener: Fd): Fd | null
  /** Calls back from the event loop whenever the descriptor is ready, again and again while it is; the returned function
   *  ends it and comes before closeFd. */
  watch(fd: Fd, event: 'readable' | 'writable', onReady: () => void): () => void
  /** Gives freed memory of the C library back to the system. */
  trimMemory(): void
  /** Mounts a bpf file system there, in the caller's mount namespace. */
  mountBpffs(path: string): void
  /** Directory fd, for cgroups. */
  openDirectory(path: string): Fd
  /** Exclusive flock on a file, created 0600; throws EAGAIN when another process holds it. */
  lockFile(path: string): Fd
  /** Exclusive flock on a directory that is there; throws EAGAIN when another process holds it. */
  lockDirectory(path: string): Fd
}

// SPDX-License-Identifier: Apache-2.0
// Programs as direct-action filters of a device's clsact qdisc: messages (include/uapi/linux/pkt_{sched,cls}.h).

import type { Fd } from './addon.ts'
import { attribute, Flag, message, nested, putU32, textAttribute, u32Attribute } from './netlink.ts'

export type Direction = 'ingress' | 'egress'

const RTM_NEWQDISC = 36
const RTM_NEWTFILTER = 44
const RTM_DELTFILTER = 45

const TCMSG_BYTES = 20
const TCA_KIND = 1
const TCA_OPTIONS = 2
const TCA_BPF_FD = 6
const TCA_BPF_NAME = 7
const TCA_BPF_FLAGS = 8
const TCA_BPF_FLAG_ACT_DIRECT = 1

const CLSACT_HANDLE = 0xffff0000
const CLSACT_PARENT = 0xfffffff1
const parents = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const

/** Of our filter among a device's; tc(8) shows it as pref. */
const PRIORITY = 18500
const HANDLE = 1
/** htons(ETH_P_ALL) */
const ALL_PROTOCOLS = 0x0300

/** EEXIST: there is one. */
export function addClsact(ifindex: number): Uint8Array {
  const body = tcBody(ifindex, CLSACT_HANDLE, CLSACT_PARENT, 0)
  return message(RTM_NEWQDISC, Flag.CREATE | Flag.EXCLUDE, body, [
    textAttribute(TCA_KIND, 'clsact'),
    attribute(TCA_OPTIONS, new Uint8Array()),
  ])
}

/** Creates or replaces; needs the qdisc. */
export function putFilter(ifindex: number, direction: Direction, name: string, program: Fd): Uint8Array {
  return message(RTM_NEWTFILTER, Flag.CREATE | Flag.REPLACE, filterBody(ifindex, direction), [
    textAttribute(TCA_KIND, 'bpf'),
    nested(TCA_OPTIONS, [
      u32Attribute(TCA_BPF_FD, program),
      textAttribute(TCA_BPF_NAME, name),
      u32Attribute(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
    ]),
  ])
}

/** ENOENT, EINVAL: there is no filter, or no qdisc. */
export function deleteFilter(ifindex: number, direction: Direction): Uint8Array {
  return message(RTM_DELTFILTER, 0, filterBody(ifindex, direction), [textAttribute(TCA_KIND, 'bpf')])
}

function filterBody(ifindex: number, direction: Direction): Uint8Array {
  return tcBody(ifindex, HANDLE, parents[direction], ((PRIORITY << 16) | ALL_PROTOCOLS) >>> 0)
}

/** struct tcmsg */
function tcBody(ifindex: number, handle: number, parent: number, info: number): Uint8Array {
  const body = new Uint8Array(TCMSG_BYTES)
  putU32(body, 4, ifindex)
  putU32(body, 8, handle)
  putU32(body, 12, parent)
  putU32(body, 16, info)
  return body
}

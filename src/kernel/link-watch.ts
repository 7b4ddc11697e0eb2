// SPDX-License-Identifier: Apache-2.0

import type { Addon } from './addon.ts'
import { parseMessage } from './netlink.ts'
import { linkIndex } from './rtnetlink.ts'

const NETLINK_ROUTE = 0
const RTNLGRP_LINK = 1
/** Messages were lost, perhaps one of this device. */
const NLMSG_OVERRUN = 4

/** Calls back whenever something of that device changes, such as its carrier; the returned function ends it. */
export function watchLink(addon: Addon, ifindex: number, onChange: () => void): () => void {
  const socket = addon.openNetlink(NETLINK_ROUTE, null)
  socket.subscribe(RTNLGRP_LINK, (message) => {
    const { type, body } = parseMessage(message)
    if (type === NLMSG_OVERRUN || linkIndex(body) === ifindex) onChange()
  })
  return () => socket.close()
}

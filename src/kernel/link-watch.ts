// SPDX-License-Identifier: Apache-2.0

import type { Addon } from './addon.ts'

const NETLINK_ROUTE = 0
const RTNLGRP_LINK = 1
/** Of ifinfomsg.ifi_index, behind nlmsghdr. */
const INDEX_OFFSET = 16 + 4

/** Calls back whenever something of that device changes, such as its carrier, or messages were lost; the returned function
 *  ends it. Other devices, which come and go with each pod, wake nobody. */
export function watchLink(addon: Addon, ifindex: number, onChange: () => void): () => void {
  const socket = addon.openNetlink(NETLINK_ROUTE, null)
  socket.subscribe(RTNLGRP_LINK, { offset: INDEX_OFFSET, value: ifindex }, onChange)
  return () => socket.close()
}

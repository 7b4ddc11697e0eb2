// SPDX-License-Identifier: Apache-2.0
// Offloads of a device, by the ethtool family of generic netlink (include/uapi/linux/ethtool_netlink.h), in the caller's
// network namespace.

import type { Addon } from './addon.ts'
import { attempt } from './kernel-error.ts'
import { message, nested, parseAttributes, parseMessage, textAttribute, u32Attribute, viewOf } from './netlink.ts'

const NETLINK_GENERIC = 16
const GENL_HEADER_BYTES = 4
const GENL_ID_CTRL = 16
const CTRL_CMD_GETFAMILY = 3
const CTRL_ATTR_FAMILY_ID = 1
const CTRL_ATTR_FAMILY_NAME = 2
const ETHTOOL_MSG_FEATURES_SET = 12
const ETHTOOL_A_FEATURES_HEADER = 1
const ETHTOOL_A_FEATURES_WANTED = 3
const ETHTOOL_A_HEADER_DEV_INDEX = 1
const ETHTOOL_A_BITSET_BITS = 3
const ETHTOOL_A_BITSET_BITS_BIT = 1
const ETHTOOL_A_BITSET_BIT_NAME = 2

/** Turns off one offload by ethtool's name for it, such as "tx-udp-segmentation"; already off is fine. */
export async function disableOffload(addon: Addon, ifindex: number, offload: string): Promise<void> {
  const socket = addon.openNetlink(NETLINK_GENERIC, null)
  try {
    await attempt(`turn ${offload} off on ifindex ${ifindex}`, async () => {
      const [answer] = await socket.request(
        message(GENL_ID_CTRL, 0, header(CTRL_CMD_GETFAMILY), [textAttribute(CTRL_ATTR_FAMILY_NAME, 'ethtool')]),
      )
      const id = parseAttributes(parseMessage(answer!).body, GENL_HEADER_BYTES).get(CTRL_ATTR_FAMILY_ID)!
      // A bit that is named and carries no value is cleared.
      const bit = nested(ETHTOOL_A_BITSET_BITS_BIT, [textAttribute(ETHTOOL_A_BITSET_BIT_NAME, offload)])
      await socket.request(
        message(viewOf(id).getUint16(0, true), 0, header(ETHTOOL_MSG_FEATURES_SET), [
          nested(ETHTOOL_A_FEATURES_HEADER, [u32Attribute(ETHTOOL_A_HEADER_DEV_INDEX, ifindex)]),
          nested(ETHTOOL_A_FEATURES_WANTED, [nested(ETHTOOL_A_BITSET_BITS, [bit])]),
        ]),
      )
    })
  } finally {
    socket.close()
  }
}

function header(command: number): Uint8Array {
  return Uint8Array.of(command, 1, 0, 0)
}

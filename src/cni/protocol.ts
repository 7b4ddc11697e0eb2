// SPDX-License-Identifier: Apache-2.0
// The request the shim sends and the reply it prints.

/** As native/cni-shim sends it: the CNI_* environment ('' where unset) and standard input. */
export interface CniRequest {
  readonly command: string
  readonly containerId: string
  readonly netns: string
  readonly ifname: string
  readonly args: string
  readonly path: string
  readonly config: string
}

export interface CniReply {
  /** Of the plugin: 0 or 1. */
  readonly exitCode: number
  /** For its standard output. */
  readonly output: string
  /** Called when the shim has taken the whole reply. */
  readonly delivered?: () => void
}

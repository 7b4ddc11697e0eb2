// SPDX-License-Identifier: Apache-2.0

/** Layout of one C struct of bpf/abi; src/generated/abi.ts holds one for each, generated from BTF. */
export interface Codec<T> {
  /** Struct name in C, for messages. */
  readonly name: string
  /** sizeof, bytes. */
  readonly size: number
  /** Writes every byte of [offset, offset + size), pads as 0. */
  write(bytes: Uint8Array, offset: number, value: T): void
  read(bytes: Uint8Array, offset: number): T
}

export function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size)
  codec.write(bytes, 0, value)
  return bytes
}

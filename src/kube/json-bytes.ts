// SPDX-License-Identifier: Apache-2.0

/** The bytes that JSON is made of, as far as they say where something begins or ends. Source: RFC 8259 2. */
export const Byte = {
  NEWLINE: 0x0a,
  /** The greatest of the white space. */
  SPACE: 0x20,
  QUOTE: 0x22,
  COMMA: 0x2c,
  COLON: 0x3a,
  OPEN_LIST: 0x5b,
  BACKSLASH: 0x5c,
  CLOSE_LIST: 0x5d,
  OPEN_OBJECT: 0x7b,
  CLOSE_OBJECT: 0x7d,
} as const

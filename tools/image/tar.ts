// SPDX-License-Identifier: Apache-2.0
// Archives that depend on their entries only: sorted, owned by root, one time for all. POSIX.1-1988 ustar.

export interface TarEntry {
  /** Relative, without a leading "./"; folders are made from the paths of their files. */
  readonly path: string
  readonly mode: number
  readonly content: Uint8Array | { readonly link: string } | 'folder'
}

const BLOCK = 512
const NAME_BYTES = 100
const PREFIX_BYTES = 155
const FOLDER_MODE = 0o755

/** The archive of the entries and of the folders above them, in the order of their paths. `seconds`: every entry's time.
 *  Throws when a path is longer than ustar can say. */
export function tarOf(entries: readonly TarEntry[], seconds: number): Buffer {
  const byPath = new Map<string, TarEntry>()
  for (const entry of entries) {
    for (const folder of foldersAbove(entry.path)) {
      if (!byPath.has(folder)) byPath.set(folder, { path: folder, mode: FOLDER_MODE, content: 'folder' })
    }
    byPath.set(entry.path, entry)
  }
  const sorted = [...byPath.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1))
  return Buffer.concat([...sorted.flatMap((entry) => blocksOf(entry, seconds)), Buffer.alloc(2 * BLOCK)])
}

function foldersAbove(path: string): readonly string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}

function blocksOf({ path, mode, content }: TarEntry, seconds: number): readonly Buffer[] {
  if (content === 'folder') return [header(`${path}/`, '5', mode, 0, '', seconds)]
  if (!(content instanceof Uint8Array)) return [header(path, '2', 0o777, 0, content.link, seconds)]
  const padding = Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)
  return [header(path, '0', mode, content.length, '', seconds), Buffer.from(content), padding]
}

function header(path: string, type: string, mode: number, size: number, link: string, seconds: number): Buffer {
  const { prefix, name } = splitName(path)
  if (link.length > NAME_BYTES) throw new Error(`${path}: the link's target is too long for ustar`)
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at)
  block.write(name, 0)
  octal(mode, 100, 8)
  octal(0, 108, 8) // uid
  octal(0, 116, 8) // gid
  octal(size, 124, 12)
  octal(seconds, 136, 12)
  block.write(type, 156)
  block.write(link, 157)
  block.write('ustar\0', 257)
  block.write('00', 263)
  octal(0, 329, 8) // device numbers
  octal(0, 337, 8)
  block.write(prefix, 345)
  // The checksum is that of a header whose checksum is eight spaces.
  block.write(' '.repeat(8), 148)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

function splitName(path: string): { readonly prefix: string; readonly name: string } {
  if (Buffer.byteLength(path) <= NAME_BYTES) return { prefix: '', name: path }
  const at = path.indexOf('/', path.length - NAME_BYTES - 1)
  if (at < 1 || at > PREFIX_BYTES || at === path.length - 1) throw new Error(`${path}: too long for ustar`)
  return { prefix: path.slice(0, at), name: path.slice(at + 1) }
}

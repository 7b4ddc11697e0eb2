// SPDX-License-Identifier: Apache-2.0
// Debian packages as files of an image: what a program loads at run time, the licences, and the record by which a
// scanner knows which version is there. Everything else of a package stays out.

import { execFileSync } from 'node:child_process'
import { globSync, lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { TarEntry } from './tar.ts'

export interface DebianPackage {
  readonly name: string
  readonly version: string
  readonly architecture: string
  readonly sha256: string
  readonly entries: readonly TarEntry[]
}

/** Shared objects, but neither converters of character sets nor what debuggers and profilers load; names of the system;
 *  the licences that copyright files refer to. */
const kept = [
  /^(usr\/)?lib(64)?\/([a-z0-9_]+-linux-gnu\/)?(ld-linux|lib(c|m|dl|pthread|rt|resolv|nss_dns|nss_files|stdc\+\+|gcc_s|bpf|elf|z)(\.|-))[^/]*$/,
  /^(etc\/(os-release|debian_version)|usr\/lib\/os-release)$/,
  /^usr\/share\/common-licenses\//,
  /^usr\/share\/doc\/[^/]+(\/copyright)?$/,
]

/** Lines of `sha256sum`: .tools/debian/ARCH/packages.sha256. */
export function packageList(path: string): readonly { readonly sha256: string; readonly file: string }[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/\s+/))
    .map(([sha256 = '', file = '']) => ({ sha256, file }))
}

/** What the image takes from one .deb. Source: deb(5), and for the record /var/lib/dpkg/status.d of distroless images. */
export function readPackage(path: string, sha256: string): DebianPackage {
  const [name = '', version = '', architecture = ''] = basename(path, '.deb').replaceAll('%3a', ':').split('_')
  const unpacked = mkdtempSync(join(tmpdir(), 'heddle-image-'))
  try {
    execFileSync('dpkg-deb', ['--extract', path, unpacked])
    const entries = globSync('**', { cwd: unpacked })
      .filter((file) => kept.some((pattern) => pattern.test(file)))
      .flatMap((file) => entryOf(unpacked, file))
    const control = execFileSync('dpkg-deb', ['--field', path])
    const record = { path: `var/lib/dpkg/status.d/${name}`, mode: 0o644, content: control }
    return { name, version, architecture, sha256, entries: [...entries, record] }
  } finally {
    rmSync(unpacked, { recursive: true, force: true })
  }
}

function entryOf(root: string, path: string): readonly TarEntry[] {
  const status = lstatSync(join(root, path))
  if (status.isSymbolicLink()) return [{ path, mode: 0o777, content: { link: readlinkSync(join(root, path)) } }]
  if (!status.isFile()) return []
  return [{ path, mode: status.mode & 0o777, content: readFileSync(join(root, path)) }]
}

// SPDX-License-Identifier: Apache-2.0
// An image archive as a container runtime reads it: by digests from index.json on.

import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'

interface Descriptor {
  readonly digest: string
  readonly annotations?: Record<string, string>
}

export interface ReadArchive {
  readonly annotations: Record<string, string>
  readonly config: { readonly config: { readonly Labels: Record<string, string> } }
  /** Puts the files of all layers below a folder that this makes. */
  unpack(root: string): void
}

export function readArchive(archive: string): ReadArchive {
  const file = (path: string) =>
    execFileSync('tar', ['--extract', '--to-stdout', '--file', archive, path], { maxBuffer: 1 << 28 })
  const blob = ({ digest }: Descriptor) => file(`blobs/${digest.replace(':', '/')}`)
  const parsed = <T>(bytes: Buffer): T => JSON.parse(bytes.toString()) as T

  const [described] = parsed<{ readonly manifests: readonly [Descriptor] }>(file('index.json')).manifests
  const manifest = parsed<{ readonly config: Descriptor; readonly layers: readonly Descriptor[] }>(blob(described))
  return {
    annotations: described.annotations ?? {},
    config: parsed(blob(manifest.config)),
    unpack(root) {
      mkdirSync(root)
      for (const layer of manifest.layers)
        execFileSync('tar', ['--extract', '--gzip', '--directory', root], { input: blob(layer) })
    },
  }
}

/** Elsewhere no image can be built: it is made of the machine's own packages. */
export const isDebian12 = readFileSync('/etc/os-release', 'utf8').includes('VERSION_CODENAME=bookworm')

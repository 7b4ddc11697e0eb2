// SPDX-License-Identifier: Apache-2.0
// Image archives made from local files: one uncompressed layer in an OCI layout tar, which `ctr images import` takes. No
// registry is asked for anything.

import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { arch, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { runTool } from '../../src/lab/process.ts'

export interface ImagePlan {
  /** Names that it has in containerd, with tags. */
  readonly names: readonly string[]
  /** Path in the image -> file of this machine. All get mode 0755. */
  readonly files: Readonly<Record<string, string>>
  /** Path in the image -> target of a symbolic link. */
  readonly links?: Readonly<Record<string, string>>
  readonly entrypoint: readonly string[]
  readonly cmd?: readonly string[]
}

const tarOptions = ['--format=gnu', '--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner']

/** Writes the archive; the same files give the same bytes. */
export async function writeImage(archive: string, image: ImagePlan): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'heddle-image-'))
  try {
    const root = join(work, 'root')
    for (const folder of ['etc', 'tmp', 'bin', 'uploads']) mkdirSync(join(root, folder), { recursive: true })
    for (const folder of ['tmp', 'uploads']) chmodSync(join(root, folder), 0o1777)
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n')
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n')
    const place = (path: string) => {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      return join(root, path)
    }
    for (const [path, source] of Object.entries(image.files)) {
      copyFileSync(source, place(path))
      chmodSync(join(root, path), 0o755)
    }
    for (const [path, target] of Object.entries(image.links ?? {})) symlinkSync(target, place(path))
    await runTool(['tar', ...tarOptions, '-C', root, '-cf', join(work, 'layer.tar'), '.'])
    writeLayout(join(work, 'layout'), readFileSync(join(work, 'layer.tar')), image)
    await runTool(['tar', ...tarOptions, '-C', join(work, 'layout'), '-cf', archive, '.'])
  } finally {
    rmSync(work, { recursive: true })
  }
}

/** Source: OCI image layout and image configuration specifications, version 1. */
function writeLayout(dir: string, layer: Buffer, { names, entrypoint, cmd = [] }: ImagePlan): void {
  mkdirSync(`${dir}/blobs/sha256`, { recursive: true })
  const put = (bytes: Buffer, mediaType: string) => {
    const hash = createHash('sha256').update(bytes).digest('hex')
    writeFileSync(`${dir}/blobs/sha256/${hash}`, bytes)
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length }
  }
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))
  const manifestType = 'application/vnd.oci.image.manifest.v1+json'
  const layers = [put(layer, 'application/vnd.oci.image.layer.v1.tar')]
  const config = put(
    json({
      architecture: arch() === 'x64' ? 'amd64' : arch(),
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: layers.map(({ digest }) => digest) },
      config: { Entrypoint: entrypoint, Cmd: cmd, Env: ['PATH=/bin:/usr/bin'], WorkingDir: '/' },
    }),
    'application/vnd.oci.image.config.v1+json',
  )
  const manifest = put(json({ schemaVersion: 2, mediaType: manifestType, config, layers }), manifestType)
  const manifests = names.map((name) => ({ ...manifest, annotations: { 'io.containerd.image.name': name } }))
  writeFileSync(`${dir}/oci-layout`, JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  writeFileSync(`${dir}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }))
}

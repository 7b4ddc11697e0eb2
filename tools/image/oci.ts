// SPDX-License-Identifier: Apache-2.0
// An image as an OCI layout in one tar, which `ctr images import` and `skopeo copy oci-archive:` take.
// Source: image-spec v1.1, image-layout.md, manifest.md, config.md, annotations.md.

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { type TarEntry, tarOf } from './tar.ts'

export interface Layer {
  /** sha256 of the archive before compression, in hexadecimal. */
  readonly diffId: string
  /** Of its files, before compression. */
  readonly sizeBytes: number
  readonly compressed: Buffer
}

export interface ImageDescription {
  readonly architecture: 'amd64' | 'arm64'
  /** Repository and tag: ghcr.io/heddle-network/heddle:0.1.0. */
  readonly name: string
  readonly title: string
  readonly version: string
  readonly revision: string
  readonly licences: string
  readonly createdSeconds: number
  readonly entrypoint: readonly string[]
}

export interface Image {
  readonly archive: Buffer
  /** Of the manifest, as a registry shows it: sha256:... */
  readonly digest: string
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const CONFIG = 'application/vnd.oci.image.config.v1+json'
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

/** gzip names no file and no time, so equal entries give equal bytes with one version of zlib (Node's own). */
export function layerOf(entries: readonly TarEntry[], seconds: number): Layer {
  const archive = tarOf(entries, seconds)
  const sizeBytes = entries.reduce(
    (total, { content }) => total + (content instanceof Uint8Array ? content.length : 0),
    0,
  )
  return { diffId: sha256(archive), sizeBytes, compressed: gzipSync(archive, { level: 6 }) }
}

export function imageOf(description: ImageDescription, layers: readonly Layer[]): Image {
  const { architecture, name, createdSeconds, entrypoint } = description
  const created = new Date(createdSeconds * 1000).toISOString()
  const labels = {
    'org.opencontainers.image.title': description.title,
    'org.opencontainers.image.version': description.version,
    'org.opencontainers.image.revision': description.revision,
    'org.opencontainers.image.licenses': description.licences,
  }
  const config = json({
    created,
    architecture,
    os: 'linux',
    // Few heaps of malloc for all threads: bin/heddle says why.
    config: { Env: ['PATH=/usr/bin', 'MALLOC_ARENA_MAX=2'], Entrypoint: entrypoint, WorkingDir: '/', Labels: labels },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => `sha256:${diffId}`) },
    history: layers.map(() => ({ created, created_by: 'tools/image/main.ts' })),
  })
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: descriptor(CONFIG, config),
    layers: layers.map(({ compressed }) => descriptor(LAYER, compressed)),
    annotations: { 'org.opencontainers.image.created': created, ...labels },
  })
  const index = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        ...descriptor(MANIFEST, manifest),
        platform: { architecture, os: 'linux' },
        annotations: {
          'io.containerd.image.name': name,
          'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
        },
      },
    ],
  })
  const blobs = [config, manifest, ...layers.map(({ compressed }) => compressed)]
  const files: readonly TarEntry[] = [
    file('oci-layout', json({ imageLayoutVersion: '1.0.0' })),
    file('index.json', index),
    ...blobs.map((blob) => file(`blobs/sha256/${sha256(blob)}`, blob)),
  ]
  return { archive: tarOf(files, createdSeconds), digest: `sha256:${sha256(manifest)}` }
}

function descriptor(mediaType: string, blob: Buffer) {
  return { mediaType, digest: `sha256:${sha256(blob)}`, size: blob.length }
}

function file(path: string, content: Buffer): TarEntry {
  return { path, mode: 0o644, content }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

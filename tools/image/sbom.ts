// SPDX-License-Identifier: Apache-2.0
// The bill of materials of an image, SPDX 2.3 in JSON. A part whose licence nobody has declared is refused.

import { readFileSync } from 'node:fs'
import type { DebianPackage } from './debian.ts'

export interface Part {
  readonly name: string
  readonly version: string
  /** SPDX expression. */
  readonly licence: string
  /** Package URL: https://github.com/package-url/purl-spec. */
  readonly purl: string
  readonly checksum?: { readonly algorithm: 'SHA256' | 'SHA512'; readonly checksumValue: string }
}

/** As the packages' copyright files say, of the parts that the image takes. */
const debianLicences: Readonly<Record<string, string>> = {
  'base-files': 'GPL-2.0-or-later',
  'gcc-12-base': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  libbpf1: 'LGPL-2.1-only OR BSD-2-Clause',
  libc6: 'LGPL-2.1-or-later',
  libelf1: 'LGPL-3.0-or-later OR GPL-2.0-or-later',
  'libgcc-s1': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  'libstdc++6': 'GPL-3.0-or-later WITH GCC-exception-3.1',
  zlib1g: 'Zlib',
  musl: 'MIT',
}

export function debianPart({ name, version, architecture, sha256 }: Omit<DebianPackage, 'entries'>): Part {
  const licence = debianLicences[name]
  if (licence === undefined) throw new Error(`${name}: tools/image/sbom.ts does not say its licence`)
  const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${architecture}&distro=bookworm`
  const part = { name, version, licence, purl }
  return sha256 === '' ? part : { ...part, checksum: { algorithm: 'SHA256', checksumValue: sha256 } }
}

interface LockedPackage {
  readonly version: string
  readonly license?: string
  readonly integrity?: string
  readonly dev?: boolean
  readonly optional?: boolean
}

/** Packages of package-lock.json that the bundle may hold, and the Node runtime called `runtime`. */
export function npmParts(lockFile: string, runtime: string): readonly Part[] {
  const { packages } = JSON.parse(readFileSync(lockFile, 'utf8')) as { packages: Record<string, LockedPackage> }
  return Object.entries(packages)
    .map(([path, locked]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      locked,
      path,
    }))
    .filter(({ path, name, locked }) => path !== '' && !locked.dev && (!locked.optional || name === runtime))
    .map(({ name, locked: { version, license, integrity = '' } }) => {
      if (license === undefined) throw new Error(`${name}: package-lock.json does not say its licence`)
      const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`
      const checksumValue = Buffer.from(integrity.replace(/^sha512-/, ''), 'base64').toString('hex')
      return { name, version, licence: license, purl, checksum: { algorithm: 'SHA512' as const, checksumValue } }
    })
}

/** The document's text. `digest` (of the image's manifest) makes its name unique, so equal images have equal documents. */
export function spdxDocument(product: Part, digest: string, createdSeconds: number, parts: readonly Part[]): string {
  const described = spdxPackage(product, 0)
  const contained = parts.map((part, index) => spdxPackage(part, index + 1))
  const relationships = [
    { spdxElementId: 'SPDXRef-DOCUMENT', relationshipType: 'DESCRIBES', relatedSpdxElement: described.SPDXID },
    ...contained.map(({ SPDXID }) => ({
      spdxElementId: described.SPDXID,
      relationshipType: 'CONTAINS',
      relatedSpdxElement: SPDXID,
    })),
  ]
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `${product.name}-${product.version}`,
    documentNamespace: `https://heddle.network/spdx/${digest.replace(':', '/')}`,
    creationInfo: {
      created: new Date(createdSeconds * 1000).toISOString().replace('.000Z', 'Z'),
      creators: ['Organization: Heddle', 'Tool: tools/image/main.ts'],
    },
    packages: [described, ...contained],
    relationships,
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

function spdxPackage({ name, version, licence, purl, checksum }: Part, index: number) {
  return {
    SPDXID: `SPDXRef-${index}-${name.replaceAll(/[^A-Za-z0-9.-]/g, '-')}`,
    name,
    versionInfo: version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: 'NOASSERTION',
    licenseDeclared: licence,
    copyrightText: 'NOASSERTION',
    ...(checksum === undefined ? {} : { checksums: [checksum] }),
    externalRefs: [{ referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }],
  }
}

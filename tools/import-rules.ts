// SPDX-License-Identifier: Apache-2.0
// The import rules of src/README.md, whose table is read here, so that the rule is stated once.

export interface Room {
  readonly name: string
  readonly pure: boolean
  readonly mayImport: readonly string[]
}

export interface SourceFile {
  /** Relative to src, such as "policy/compile.ts". */
  readonly path: string
  readonly text: string
}

/** Packages without effects, which pure rooms may use. */
const purePackages = ['ip-address']

const importPattern = /^\s*(?:import|export)\s(?:[^'"]*?\sfrom\s)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm

/** Rooms of the table, in its order. */
export function parseRooms(readme: string): readonly Room[] {
  return readme
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .filter(([, name]) => name !== 'room')
    .map(([, name = '', pure, imports = '']) => ({
      name,
      pure: pure === 'yes',
      mayImport: imports
        .split(',')
        .map((text) => text.trim())
        .filter((text) => text !== ''),
    }))
}

/** One sentence per import that breaks a rule, "path: ...", in the order of the files. Test files may use test tools. */
export function importViolations(rooms: readonly Room[], files: readonly SourceFile[]): readonly string[] {
  return files.flatMap((file) => {
    const room = roomOf(file.path)
    if (room === null) return []
    const rule = rooms.find(({ name }) => name === room)
    if (!rule) return [`${file.path}: the room ${room} has no row in src/README.md`]
    return imports(file.text).flatMap((target) => violation(file.path, rule, target) ?? [])
  })
}

function imports(text: string): readonly string[] {
  return [...text.matchAll(importPattern)].map((match) => match[1] ?? match[2] ?? '')
}

function violation(path: string, rule: Room, target: string): string | null {
  const isTest = path.endsWith('.test.ts')
  if (!target.startsWith('.')) {
    if (!rule.pure || isTest || purePackages.includes(target)) return null
    return `${path}: the pure room ${rule.name} imports ${target}`
  }
  const resolved = resolve(path, target)
  if (resolved === null) return isTest ? null : `${path}: imports ${target}, which is outside src`
  const room = roomOf(resolved)
  if (room === null) return `${path}: imports ${resolved}, which only composes the rooms`
  if (room === rule.name || rule.mayImport.includes(room)) return null
  return `${path}: the room ${rule.name} may not import ${room} (${target})`
}

/** First folder of a path below src; null for a file that stands in src itself. */
function roomOf(path: string): string | null {
  const slash = path.indexOf('/')
  return slash < 0 ? null : path.slice(0, slash)
}

/** Path below src that a relative import names; null when it leaves src. */
function resolve(from: string, target: string): string | null {
  const parts = from.split('/').slice(0, -1)
  for (const part of target.split('/')) {
    if (part === '..' && parts.length === 0) return null
    if (part === '..') parts.pop()
    else if (part !== '.') parts.push(part)
  }
  return parts.join('/')
}

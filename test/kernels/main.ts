// SPDX-License-Identifier: Apache-2.0
// `make check-kernels`: guest.ts in QEMU on the oldest and the newest supported kernel, and the table of the verifier's
// instruction counts. Arguments name kernels (6.1, 6.12). Ends with 1 when a step failed on any of them.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildInitramfs } from './initramfs.ts'
import { type Counts, countsTable } from './instruction-counts.ts'
import { type Message, marker } from './message.ts'
import { runGuest } from './qemu.ts'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const kernels = ['6.1', '6.12']
const tableFile = `${checkout}docs/instruction-counts.md`
/** Emulation is slow and CI's machine is shared; a guest that hangs is what this is for. */
const timeoutMs = 15 * 60_000

interface Result {
  readonly release: string
  readonly counts: Counts
  readonly passed: number
  readonly failed: number
}

async function checkKernel(series: string): Promise<Result> {
  const folder = `${checkout}.tools/kernels/${series}`
  const command = `cd ${checkout} && exec node_modules/.bin/node test/kernels/guest.ts native vxlan`
  const counts = new Map<string, number>()
  let release = ''
  let passed = 0
  let failed = 0
  const hear = (message: Message): void => {
    if (message.kind === 'kernel') {
      release = message.release
    } else if (message.kind === 'program') {
      counts.set(`${message.object}: ${message.program}`, message.instructions)
    } else if (message.problem === '') {
      passed++
      process.stdout.write(`  ok     ${message.name}\n`)
    } else {
      failed++
      process.stdout.write(`  FAILED ${message.name}\n${message.problem.replace(/^/gm, '    ')}\n`)
    }
  }
  let ended = false
  await runGuest(`${folder}/vmlinuz`, buildInitramfs(`${folder}/modules`, command), timeoutMs, (line) => {
    const message = line.indexOf(marker)
    if (message >= 0) hear(JSON.parse(line.slice(message + marker.length)))
    else if (line.startsWith('guest ended with 0')) ended = true
    else if (!/^\S*SeaBIOS|Booting from ROM|Power down/.test(line)) process.stdout.write(`  ${series}| ${line}\n`)
  })
  if (!ended || passed === 0) failed++
  return { release, counts, passed, failed }
}

const wanted = process.argv.slice(2)
const results: Result[] = []
for (const series of kernels.filter((series) => wanted.length === 0 || wanted.includes(series))) {
  process.stdout.write(`== Linux ${series}\n`)
  results.push(await checkKernel(series))
}
if (results.length === kernels.length && results.every(({ failed }) => failed === 0)) {
  const text = countsTable(results)
  const changed = !sameText(tableFile, text)
  if (changed) writeFileSync(tableFile, text)
  process.stdout.write(`docs/instruction-counts.md ${changed ? 'is rewritten: commit it' : 'is up to date'}\n`)
}
const sum = (pick: (result: Result) => number) => results.reduce((total, result) => total + pick(result), 0)
process.stdout.write(`${sum(({ passed }) => passed)} passed, ${sum(({ failed }) => failed)} failed, 0 skipped\n`)
process.exitCode = sum(({ failed }) => failed) === 0 ? 0 : 1

function sameText(file: string, text: string): boolean {
  try {
    return readFileSync(file, 'utf8') === text
  } catch {
    return false
  }
}

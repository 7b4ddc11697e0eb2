// SPDX-License-Identifier: Apache-2.0
// The committed table of what the verifier walked through.

/** "object: program" -> instructions that the verifier processed. */
export type Counts = ReadonlyMap<string, number>

/** Markdown: one row per program, one column per kernel. */
export function countsTable(kernels: readonly { readonly release: string; readonly counts: Counts }[]): string {
  const programs = [...new Set(kernels.flatMap(({ counts }) => [...counts.keys()]))]
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return `${[
    '# Instruction counts',
    '',
    'Instructions that the verifier processed to accept each program (`verified_insns` of `bpf_prog_info`); its limit is',
    '1,000,000. Written by `make check-kernels`, which loads every object in QEMU on these kernels; do not edit.',
    '',
    row(['program', ...kernels.map(({ release }) => release)]),
    row(['---', ...kernels.map(() => '---:')]),
    ...programs.map((program) => row([program, ...kernels.map(({ counts }) => format(counts.get(program)))])),
  ].join('\n')}\n`
}

function format(count: number | undefined): string {
  return count === undefined ? '-' : count.toLocaleString('en-US')
}

// SPDX-License-Identifier: Apache-2.0
// What a soak run measured on a cluster, in a file of bench/results that names commit and machine.

import { writeFileSync } from 'node:fs'
import { checkout } from '../../src/lab/names.ts'
import { machine, stampedName } from '../../tools/machine.ts'
import { isSoak } from '../support/soak.ts'

/** Nothing in a run that is no soak. */
export function saveSoakFigures(name: string, figures: object): void {
  if (!isSoak) return
  const result = { date: new Date(), machine: machine(), ...figures }
  const path = `${checkout}/bench/results/${stampedName(result.date, result.machine)}-${name}.json`
  writeFileSync(path, `${JSON.stringify(result, null, 1)}\n`)
}

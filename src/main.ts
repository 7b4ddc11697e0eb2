// SPDX-License-Identifier: Apache-2.0
// Composition root: one process is one command; `heddle agent` is the one that stays.

import { runCli } from './cli/main.ts'

process.exitCode = await runCli(process.argv.slice(2))

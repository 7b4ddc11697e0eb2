// SPDX-License-Identifier: Apache-2.0
// A process for src/ipam/journal.test.ts to kill: attaches and releases eight containers over and over, several at a time,
// and says what it asked and what was acknowledged. Usage: ipam-churn.ts JOURNAL

import { writeSync } from 'node:fs'
import type { Prefix } from '../../src/core/address.ts'
import { openIpam } from '../../src/ipam/ipam.ts'
import { diskFile } from '../../src/ipam/journal.ts'
import { allocationRequest } from './ipam.ts'

const ROUNDS = 100_000

const ipam = await openIpam({
  file: diskFile(process.argv[2]!),
  source: { pools: () => [{ prefix: '10.1.0.0/24' as Prefix, reserved: [] }], problems: () => [] },
  now: () => ({ bootId: 'boot', ms: 0 }),
})

async function churn(containerId: string): Promise<void> {
  const id = { containerId, ifname: 'eth0' }
  for (let round = 0; round < ROUNDS; round++) {
    writeSync(1, `asked ${containerId}\n`)
    const attachment = await ipam.allocate(allocationRequest(containerId))
    if ('exhausted' in attachment) throw new Error('exhausted')
    await ipam.sync()
    writeSync(1, `added ${containerId} ${attachment.addresses.join()}\n`)
    await new Promise((resolve) => setImmediate(resolve))
    writeSync(1, `asked ${containerId}\n`)
    await ipam.release(id)
    await ipam.sync()
    writeSync(1, `released ${containerId}\n`)
  }
}

await Promise.all(Array.from({ length: 8 }, (_, i) => churn(`c${i}`)))

// SPDX-License-Identifier: Apache-2.0
// A node and its pods share the node's address towards one address and port outside, and never each other's ports.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout } from '../../src/lab/names.ts'
import { outsideIPs } from '../../src/lab/network.ts'
import type { Background } from '../support/background.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace } from '../support/manifests.ts'
import { soak } from '../support/soak.ts'

const script = `${checkout}/test/support/hold.py`
let lab: TestLab

beforeAll(async () => {
  lab = await startTestLab('masquerade', { mode: 'native', families: '46' })
  await lab.apply(idlePod('one', 'n1'), idlePod('two', 'n1'))
  // Few ports for many: the same ones are asked for again and again.
  for (const place of ['node/n1', `${namespace}/one`, `${namespace}/two`])
    await lab.shell(place, "sysctl -qw net.ipv4.ip_local_port_range='40000 43000'")
  const server = lab.start('outside', ['python3', script, 'serve', '7000'])
  await server.until((output) => output.includes('listening'))
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

test.each([4, 6] as const)(
  'IPv%s: 2,000 connections of two pods and 1,000 of the node to one address and port',
  async (family) => {
    const hold = (place: string, count: number) =>
      lab.start(place, ['python3', script, 'hold', outsideIPs[family], '7000', String(count), place])
    const holders: [Background, number][] = [
      [hold(`${namespace}/one`, 1_000), 1_000],
      [hold('node/n1', 1_000), 1_000],
      [hold(`${namespace}/two`, 1_000), 1_000],
    ]
    await Promise.all(holders.map(([background]) => background.until((output) => output.includes('held\n'))))
    for (let round = 1; round <= soak(2, 30); round++) {
      for (const [background] of holders) background.write('go\n')
      await Promise.all(
        holders.map(([background]) =>
          background.until((output) => (output.match(/^\d+ \d+$/gm)?.length ?? 0) === round),
        ),
      )
      const counts = holders.map(([background]) =>
        background
          .output()
          .match(/^\d+ \d+$/gm)!
          .at(-1),
      )
      console.log(`IPv${family}, round ${round}: own answers and distinct clients: ${counts.join(', ')}`)
      expect(counts).toEqual(holders.map(([, count]) => `${count} ${count}`))
    }
    for (const [background] of holders) await background.stop()
  },
)

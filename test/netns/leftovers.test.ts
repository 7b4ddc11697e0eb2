// SPDX-License-Identifier: Apache-2.0
// A lab leaves nothing on the machine, however it ends.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { leftovers, takeDown } from '../../src/lab/lifecycle.ts'
import { checkout, labDir } from '../../src/lab/names.ts'
import { runProgram, waitUntil } from '../../src/lab/process.ts'
import { startTestLab, sweepTestLabs } from '../support/lab.ts'
import { idlePod } from '../support/manifests.ts'

const nothing = { netns: [], mounts: [], paths: [] }
const killed = `test-${process.pid}-killed`

afterEach(async () => {
  await takeDown(killed)
})

/** Names of interfaces, routes and rules of the root network namespace, and the programs on its links. */
async function rootNetns(): Promise<string> {
  const commands = [
    ['ip', '-o', 'link'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['ip', '-6', 'route', 'show', 'table', 'all'],
    ['ip', 'rule'],
    ['bpftool', 'net', 'list'],
    ['sysctl', '-n', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'],
  ]
  const outputs = await Promise.all(commands.map((argv) => runProgram(argv)))
  return outputs.map(({ stdout }) => stdout).join('\n')
}

test('after a lab with pods: no namespace, mount, cgroup or file; the root namespace is as before', async () => {
  const before = await rootNetns()
  await using lab = await startTestLab('left', { mode: 'vxlan', families: '46' })
  await lab.apply(idlePod('a', 'n1'), idlePod('b', 'n2'))
  expect(leftovers(lab.name).netns).toHaveLength(6)
  expect(await lab.down()).toEqual([])
  expect(await rootNetns()).toBe(before)
})

test.each([10, 60, 150, 400, 900])('`lab up` killed after %i ms: `lab down` leaves nothing', async (milliseconds) => {
  const child = spawn(`${checkout}/bin/heddle`, ['lab', 'up', '--name', killed], { stdio: 'ignore' })
  const ended = new Promise((resolve) => child.on('exit', resolve))
  await waitUntil(() => existsSync(labDir(killed)), 5_000)
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  child.kill('SIGKILL')
  await ended
  const { netns, mounts } = leftovers(killed)
  const down = await runProgram([`${checkout}/bin/heddle`, 'lab', 'down', '--name', killed])
  console.log(
    `killed after ${milliseconds} ms with ${netns.length} namespaces and ${mounts.length} mounts; then down: ${down.exitCode}`,
  )
  expect(down).toMatchObject({ exitCode: 0, stderr: '' })
  expect(leftovers(killed)).toEqual(nothing)
})

test('the labs of a test process that was killed are removed by the next one', async () => {
  const script = `
    const { startTestLab } = await import('${checkout}/test/support/lab.ts')
    await startTestLab('orphan', { mode: 'native', families: '4' })
    process.kill(process.pid, 'SIGKILL')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' })
  await new Promise((resolve) => child.on('exit', resolve))
  const orphan = `test-${child.pid}-orphan`
  expect(leftovers(orphan).netns).toHaveLength(4)
  expect(await sweepTestLabs()).toContain(orphan)
  expect(leftovers(orphan)).toEqual(nothing)
})

test('labs with different names run side by side', async () => {
  await using one = await startTestLab('one', { mode: 'vxlan', families: '4' })
  await using two = await startTestLab('two', { mode: 'native', families: '46' })
  await one.apply(idlePod('p', 'n1'))
  await two.apply(idlePod('p', 'n1'))
  expect((await one.shell('test/p', 'ip -4 -o addr show eth0')).includes(one.podIP('test/p', 4))).toBe(true)
  expect(await one.down()).toEqual([])
  expect(await two.shell('test/p', `ping -c 1 -W 2 ${two.nodeIP('n2', 4)}`)).toMatch(/1 received/)
})

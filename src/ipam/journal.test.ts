// SPDX-License-Identifier: Apache-2.0

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { allocationRequest, memoryFile } from '../../test/support/ipam.ts'
import type { Prefix } from '../core/address.ts'
import { type Ipam, openIpam } from './ipam.ts'
import { diskFile, type JournalFile } from './journal.ts'

const MOMENT = { bootId: 'boot', ms: 0 }

function open(file: JournalFile): Promise<Ipam> {
  return openIpam({
    file,
    source: { pools: () => [{ prefix: '10.1.0.0/24' as Prefix, reserved: [] }], problems: () => [] },
    now: () => MOMENT,
  })
}

function id(containerId: string) {
  return { containerId, ifname: 'eth0' }
}

async function answered(ipam: Ipam, containerId: string): Promise<void> {
  await ipam.allocate(allocationRequest(containerId))
  await ipam.completion(id(containerId), { ifindex: 9, hostMac: 'h', podMac: 'p', mtu: 1500, netnsCookie: 42n })()
}

/** Addresses by container; fails when one has two owners. */
function owners(ipam: Ipam): Readonly<Record<string, string>> {
  const attachments = ipam.attachments()
  const addresses = attachments.flatMap((attachment) => attachment.addresses)
  expect(new Set(addresses).size).toBe(addresses.length)
  return Object.fromEntries(attachments.map(({ containerId, addresses }) => [containerId, addresses.join()]))
}

describe('damage', () => {
  /** Answered, answered, released, answered, allocated; and how long the file was after each step. */
  async function written() {
    const file = memoryFile()
    const ipam = await open(file)
    const steps: { readonly length: number; readonly owners: Readonly<Record<string, string>> }[] = []
    const note = () => steps.push({ length: file.contents.length, owners: owners(ipam) })
    note()
    for (const step of [
      () => answered(ipam, 'a'),
      () => answered(ipam, 'b'),
      () => ipam.release(id('a')),
      () => answered(ipam, 'c'),
      () => ipam.allocate(allocationRequest('d')),
    ]) {
      await step()
      note()
    }
    return { contents: file.contents, steps }
  }

  test('cut at any byte: the state is the one after a whole number of records', async () => {
    const { contents, steps } = await written()
    for (let length = 0; length <= contents.length; length++) {
      const ipam = await open(memoryFile(contents.subarray(0, length)))
      const last = steps.findLastIndex((step) => step.length <= length)
      const possible = steps.slice(Math.max(last, 0), last + 2).map((step) => step.owners)
      expect(possible).toContainEqual(owners(ipam))
      expect(ipam.damagedRecords).toBeLessThanOrEqual(1)
    }
  })

  const changes: Readonly<Record<string, (byte: number) => number>> = {
    'a flipped bit': (byte) => byte ^ 0x01,
    'a flipped high bit': (byte) => byte ^ 0x80,
    'a newline': () => 0x0a,
    'a zero': () => 0x00,
  }

  test.each(Object.entries(changes))('%s at any offset loses no answered attachment', async (_, change) => {
    const { contents } = await written()
    for (let offset = 0; offset < contents.length; offset++) {
      const damaged = Uint8Array.from(contents)
      damaged[offset] = change(damaged[offset]!)
      const ipam = await open(memoryFile(damaged))
      expect(owners(ipam)).toMatchObject({ b: '10.1.0.2', c: '10.1.0.3' })
    }
  })

  test('nor does it in a file that was compacted', async () => {
    const compacted = memoryFile((await written()).contents)
    const expected = owners(await open(compacted))
    for (let offset = 0; offset < compacted.contents.length; offset++) {
      const damaged = Uint8Array.from(compacted.contents)
      damaged[offset] = damaged[offset]! ^ 0x04
      expect(owners(await open(memoryFile(damaged)))).toEqual(expected)
    }
  })

  test('opening repairs: the next open finds no damage', async () => {
    const { contents } = await written()
    const file = memoryFile(contents.subarray(0, contents.length - 5))
    expect((await open(file)).damagedRecords).toBe(1)
    expect((await open(file)).damagedRecords).toBe(0)
  })
})

describe('on the disk', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'heddle-journal-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('the folder is made, the file is for root alone, and a stale replacement is no obstacle', async () => {
    const path = join(folder, 'state', 'ipam.journal')
    const ipam = await open(diskFile(path))
    await answered(ipam, 'a')
    await ipam.sync()
    await ipam.close()
    await writeFile(`${path}.next`, 'torn')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    const after = await open(diskFile(path))
    expect(owners(after)).toEqual({ a: '10.1.0.1' })
    await after.close()
    expect((await readFile(path, 'utf8')).includes('torn')).toBe(false)
  })

  test('kill -9 at any moment: what was acknowledged is there, what was released is not', async () => {
    const path = join(folder, 'killed.journal')
    for (let round = 0; round < 12; round++) {
      const child = spawn(process.execPath, [join(import.meta.dirname, '../../test/support/ipam-churn.ts'), path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const expected = new Map<string, string>()
      const uncertain = new Set<string>()
      let lines = 0
      for await (const line of createInterface({ input: child.stdout })) {
        const [event, container, addresses] = line.split(' ') as [string, string, string]
        if (event === 'asked') uncertain.add(container)
        else uncertain.delete(container)
        if (event === 'added') expected.set(container, addresses)
        if (event === 'released') expected.delete(container)
        if (++lines === 40 + 17 * round) child.kill('SIGKILL')
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
      expect(child.signalCode).toBe('SIGKILL')

      const ipam = await open(diskFile(path))
      const found = new Map(Object.entries(owners(ipam)))
      for (const container of uncertain) {
        found.delete(container)
        expected.delete(container)
      }
      expect(Object.fromEntries(found)).toEqual(Object.fromEntries(expected))
      for (const { containerId } of ipam.attachments()) await ipam.release(id(containerId))
      await ipam.close()
    }
  })
})

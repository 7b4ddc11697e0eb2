// SPDX-License-Identifier: Apache-2.0

import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { installCniFiles, removeNetworkConfiguration } from './cni-files.ts'

let cniBinDir: string
let cniConfDir: string
beforeEach(async () => {
  cniBinDir = await mkdtemp(join(tmpdir(), 'heddle-bin-'))
  cniConfDir = await mkdtemp(join(tmpdir(), 'heddle-conf-'))
})
afterEach(async () => {
  for (const folder of [cniBinDir, cniConfDir]) await rm(folder, { recursive: true })
})

const install = (runDir = '/run/heddle') => installCniFiles({ cniBinDir, cniConfDir, runDir })
const configuration = async () => JSON.parse(await readFile(join(cniConfDir, '05-heddle.conflist'), 'utf8'))

describe('a runtime that finds the wrong files starts pods that nobody isolates', () => {
  test('the plugin is executable, the configuration leads to it, nothing else is left', async () => {
    await install()
    expect(await readdir(cniBinDir)).toEqual(['heddle-cni'])
    expect(await readdir(cniConfDir)).toEqual(['05-heddle.conflist'])
    expect((await stat(join(cniBinDir, 'heddle-cni'))).mode & 0o777).toBe(0o755)
    expect((await readFile(join(cniBinDir, 'heddle-cni'))).equals(await readFile('build/heddle-cni'))).toBe(true)
    expect(await configuration()).toEqual({
      cniVersion: '1.0.0',
      cniVersions: ['1.0.0', '1.1.0'],
      name: 'heddle',
      plugins: [{ type: 'heddle-cni' }],
    })
  })

  test('portmap is chained where the node has it', async () => {
    await symlink('/usr/lib/cni/that-of-the-host', join(cniBinDir, 'portmap'))
    await install()
    expect(await configuration()).toEqual({
      cniVersion: '1.0.0',
      name: 'heddle',
      plugins: [{ type: 'heddle-cni' }, { type: 'portmap', capabilities: { portMappings: true } }],
    })
  })

  test('an agent with another folder is found', async () => {
    await install('/run/other')
    expect((await configuration()).plugins).toEqual([{ type: 'heddle-cni', agentSocket: '/run/other/cni.sock' }])
  })

  test('what is there already is not written again: a runtime would load it anew', async () => {
    const { written } = await install()
    expect(written).toEqual([join(cniBinDir, 'heddle-cni'), join(cniConfDir, '05-heddle.conflist')])
    const before = await stat(join(cniConfDir, '05-heddle.conflist'))
    expect((await install()).written).toEqual([])
    expect((await stat(join(cniConfDir, '05-heddle.conflist'))).ino).toBe(before.ino)
  })

  test('another plugin, torn or older, is replaced, also after a crash in the middle', async () => {
    const path = join(cniBinDir, 'heddle-cni')
    await writeFile(path, 'torn')
    await writeFile(`${path}~`, 'half')
    await chmod(`${path}~`, 0o400)
    const before = await stat(path)
    expect((await install()).written).toContain(path)
    expect((await stat(path)).ino).not.toBe(before.ino)
    expect((await stat(path)).mode & 0o777).toBe(0o755)
    expect(await readdir(cniBinDir)).toEqual(['heddle-cni'])
  })

  test('a network that the runtime prefers is named', async () => {
    await writeFile(join(cniConfDir, '00-multus.conf'), '{}')
    await writeFile(join(cniConfDir, '00-old.conflist.bak'), '{}')
    await writeFile(join(cniConfDir, '10-other.conflist'), '{}')
    expect((await install()).shadowedBy).toBe(join(cniConfDir, '00-multus.conf'))
  })

  test('a folder that is not there is an error that names it', async () => {
    await expect(installCniFiles({ cniBinDir: '', cniConfDir: '/absent', runDir: '/run/heddle' })).rejects.toThrow(
      '/absent/05-heddle.conflist~',
    )
  })

  test('uninstalling takes the configuration and leaves the plugin for the pods that are still there', async () => {
    await install()
    await removeNetworkConfiguration({ cniConfDir })
    await removeNetworkConfiguration({ cniConfDir })
    expect(await readdir(cniConfDir)).toEqual([])
    expect(await readdir(cniBinDir)).toEqual(['heddle-cni'])
  })
})

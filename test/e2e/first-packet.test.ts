// SPDX-License-Identifier: Apache-2.0
// Nothing forbidden reaches a pod at any instant, the first packet included: a packet socket listens in the pod's
// namespace before ADD, while a pod of the same node, a pod and the host of the other node, and a host outside hammer
// every address that the pod may get; an allowed client does the same.

import { spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout, netnsPath } from '../../src/lab/names.ts'
import { familyOf } from '../../src/lab/services.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace, networkPolicy } from '../support/manifests.ts'
import { soak } from '../support/soak.ts'

const port = 9_999
const seconds = soak(12, 60)
let lab: TestLab

beforeAll(async () => {
  lab = await startTestLab('first', { mode: 'vxlan', families: '46' })
  await lab.apply(
    idlePod('near', 'n1'),
    idlePod('far', 'n2'),
    idlePod('friend', 'n2', { friend: 'yes' }),
    networkPolicy('friends-only', {
      podSelector: { matchLabels: { app: 'victim' } },
      policyTypes: ['Ingress'],
      ingress: [
        { from: [{ podSelector: { matchLabels: { friend: 'yes' } } }], ports: [{ port }, { port, protocol: 'UDP' }] },
      ],
    }),
  )
  // The fabric and the host outside learn a way to the pods of n1, as a router of a data centre might.
  const n1 = (family: 4 | 6) => lab.nodeIP('n1', family)
  await lab.shell('fabric', `ip route add 10.244.1.0/24 via ${n1(4)} && ip route add fd00:10:244:1::/64 via ${n1(6)}`)
  await lab.shell(
    'outside',
    'ip route add 10.244.1.0/24 via 203.0.113.1 && ip route add fd00:10:244:1::/64 via 2001:db8:113::1',
  )
})

afterAll(async () => {
  expect(await lab?.down()).toEqual([])
})

test('of all who hammer a pod from before its ADD, only the allowed client is heard, in both families', async () => {
  const numbers = Array.from({ length: 12 }, (_, index) => index + 1)
  const candidates = [...numbers.map((n) => `10.244.1.${n}`), ...numbers.map((n) => `fd00:10:244:1::${n.toString(16)}`)]
  const taken = new Set(lab.cluster.state.pods.flatMap(({ podIPs }) => podIPs))
  const targets = candidates.filter((ip) => !taken.has(ip))
  const hammer = (place: string, perSecond: number) =>
    lab.start(place, [
      'python3',
      `${checkout}/test/support/hammer.py`,
      `${port}`,
      `${seconds}`,
      `${perSecond}`,
      place,
      ...targets,
    ])
  const foes = [`${namespace}/near`, `${namespace}/far`, 'node/n2', 'outside'].map((place) => hammer(place, 400))
  const friend = hammer(`${namespace}/friend`, 400)
  await Promise.all([...foes, friend].map((background) => background.until((output) => output.includes('hammering'))))

  let heard = ''
  let capture: ReturnType<typeof spawn> | undefined
  lab.cluster.beforeAdd = async ({ place }) => {
    const argv = [
      `--net=${netnsPath(lab.name, place)}`,
      '--',
      'tcpdump',
      '-l',
      '--immediate-mode',
      '-nn',
      '-i',
      'any',
      'tcp or udp',
    ]
    capture = spawn('nsenter', argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    capture.stdout!.setEncoding('utf8').on('data', (text: string) => {
      heard += text
    })
    await new Promise<void>((resolve) =>
      capture!.stderr!.setEncoding('utf8').on('data', (text: string) => text.includes('listening') && resolve()),
    )
  }
  await lab.apply(idlePod('victim', 'n1', { app: 'victim' }))
  const attempts = await Promise.all(
    [...foes, friend].map(async (background) => Number((await background.ended).trim().split('\n').at(-1))),
  )
  capture!.kill('SIGTERM')
  await new Promise((resolve) => capture!.on('close', resolve))

  const victimIPs = lab.pod(`${namespace}/victim`).podIPs
  expect(victimIPs.every((ip) => targets.includes(ip))).toBe(true)
  const inbound = heard
    .split('\n')
    .flatMap((line) => / In +IP6? (\S+)\.\d+ > (\S+)\.\d+:/.exec(line)?.slice(1, 3).join(' > ') ?? [])
  const counts = Object.fromEntries(
    [...Map.groupBy(inbound, (pair) => pair)].map(([pair, list]) => [pair, list.length]),
  )
  console.log(
    `${attempts.join(' + ')} attempts on ${targets.length} addresses; heard in the pod: ${JSON.stringify(counts)}`,
  )
  const expected = victimIPs.map((ip) => `${lab.podIP(`${namespace}/friend`, familyOf(ip))} > ${ip}`)
  expect(Object.keys(counts).toSorted()).toEqual(expected.toSorted())
})

// SPDX-License-Identifier: Apache-2.0
// Nothing forbidden reaches a pod at any instant, the first packet included, and nothing allowed is kept out for long: pods
// start at a rate while labels and policies change. A packet socket listens in each pod's namespace before ADD, while a pod
// of each node, the host of one and a host outside hammer every address that the pods may get, and strangers among the
// pods speak from before their own ADD.
//
//   n1: near, anchor-1, half of the pods      n2: far, friend, anchor-2, the other half      outside
//
// Friends are among the pods, too: they and the pod `friend` speak to the anchors and to every pod.

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkout, netnsPath } from '../../src/lab/names.ts'
import type { Background } from '../support/background.ts'
import { startTestLab, type TestLab } from '../support/lab.ts'
import { idlePod, namespace, networkPolicy } from '../support/manifests.ts'
import {
  atRate,
  type ChurnedPod,
  createPodChurn,
  type Heard,
  type Listener,
  preparePods,
  type Speaker,
  type StartedPod,
  startListener,
  startSpeaker,
} from '../support/pod-churn.ts'
import { monotonicUs, withdraw } from '../support/publish.ts'
import { isSoak, soak } from '../support/soak.ts'

const port = 9_999
const podCount = soak(60, 600)
const podsPerSecond = 50
const changesPerSecond = 20
const hammersPerSecond = 500
/** How long a pod goes on once all who may be heard have been. */
const STAY_MS = 1_000
const PATIENCE_MS = 60_000
/** Source: issue 6. */
const LATE_MS = 1_000
const friend = `${namespace}/friend`
const nodes = ['n1', 'n2'] as const
type Node = (typeof nodes)[number]
const anchors = { n1: 'anchor-1', n2: 'anchor-2' } as const
/** By place the nodes whose pods it hammers: a node may always reach its own. */
const foes: Readonly<Record<string, readonly Node[]>> = {
  [`${namespace}/near`]: ['n1', 'n2'],
  [`${namespace}/far`]: ['n1', 'n2'],
  'node/n1': ['n2'],
  'node/n2': ['n1'],
  outside: ['n1', 'n2'],
}
/** Every pod of this file is selected by it, but those that speak only. */
const friendsOnly = networkPolicy('friends-only', {
  podSelector: { matchLabels: { app: 'victim' } },
  policyTypes: ['Ingress'],
  ingress: [
    { from: [{ podSelector: { matchLabels: { friend: 'yes' } } }], ports: [{ port }, { port, protocol: 'UDP' }] },
  ],
})

let lab: TestLab
let listener: Listener
let speaker: Speaker

beforeAll(async () => {
  lab = await startTestLab('first', { mode: 'vxlan', families: '46' })
  listener = startListener()
  speaker = startSpeaker(port)
  await lab.apply(
    idlePod('near', 'n1'),
    idlePod('far', 'n2'),
    idlePod('friend', 'n2', { friend: 'yes' }),
    ...Object.entries(anchors).map(([node, name]) => idlePod(name, node, { app: 'victim' })),
    friendsOnly,
  )
  // The fabric and the host outside learn ways to the pods, as a router of a data centre might.
  for (const { podCIDRs, internalIPs } of lab.cluster.state.nodes) {
    for (const [index, cidr] of podCIDRs.entries()) {
      await lab.shell('fabric', `ip route add ${cidr} via ${internalIPs[index]}`)
      await lab.shell('outside', `ip route add ${cidr} via ${index === 0 ? '203.0.113.1' : '2001:db8:113::1'}`)
    }
  }
  for (const name of Object.values(anchors)) await listener.listen(name, netnsOf(`${namespace}/${name}`))
})

afterAll(async () => {
  await speaker?.stop()
  await listener?.stop()
  expect(await lab?.down()).toEqual([])
})

function netnsOf(pod: string): string {
  return netnsPath(lab.name, lab.pod(pod).place)
}

function anchorIPs(node: Node): readonly string[] {
  return lab.pod(`${namespace}/${anchors[node]}`).podIPs
}

/** What the addresses of a node's pods will be, and those of its anchor. */
function hammered(node: Node): readonly string[] {
  const numbers = Array.from({ length: podCount / 2 + 20 }, (_, index) => index + 1)
  const place = node.slice(1)
  const candidates = [
    ...numbers.filter((n) => n < 255).map((n) => `10.244.${place}.${n}`),
    ...numbers.map((n) => `fd00:10:244:${place}::${n.toString(16)}`),
  ]
  const taken = new Set(lab.cluster.state.pods.flatMap(({ podIPs }) => podIPs))
  return [...candidates.filter((ip) => !taken.has(ip)), ...anchorIPs(node)]
}

async function hammer(place: string, targets: readonly string[]): Promise<Background> {
  const script = `${checkout}/test/support/hammer.py`
  const hammer = lab.start(place, ['python3', script, `${port}`, `${hammersPerSecond}`, place, ...targets])
  await hammer.until((output) => output.includes('hammering'))
  return hammer
}

/** What a started pod, and where it is a friend the anchors, should hear: when each first was, or null. */
async function expectations({ name, podIPs, isFriend }: StartedPod): Promise<readonly (number | null)[]> {
  const own = await listener.heard(name)
  const byPod = podIPs.map((ip) => own[`${friend}:${name} > ${ip}`]?.firstUs ?? null)
  if (!isFriend) return byPod
  const everywhere = await heardByAnchors()
  const byAnchors = nodes.flatMap(anchorIPs).map((ip) => everywhere[`${name} > ${ip}`]?.firstUs ?? null)
  return [...byPod, ...byAnchors]
}

async function heardByAnchors(): Promise<Heard> {
  return Object.assign({}, ...(await Promise.all(Object.values(anchors).map((each) => listener.heard(each)))))
}

async function until<T>(look: () => Promise<T>, holds: (seen: T) => boolean): Promise<T> {
  const end = performance.now() + PATIENCE_MS
  for (;;) {
    const seen = await look()
    if (holds(seen) || performance.now() > end) return seen
    await sleep(200)
  }
}

/** The speakers whom policy admits. */
function isFriendly(key: string): boolean {
  return key.startsWith(`${friend}:`) || key.startsWith('friend-')
}

function gapsMs(heard: Heard): readonly number[] {
  return Object.entries(heard).flatMap(([key, { gapUs }]) => (isFriendly(key) ? [gapUs / 1_000] : []))
}

/** Those whom policy keeps out, in what somebody has heard. */
function forbidden(heard: Heard): readonly string[] {
  const hammering = [friend, ...lab.pod(friend).podIPs.map((ip) => `TCP ${ip}`)]
  return Object.keys(heard).filter((key) => !isFriendly(key) && !hammering.includes(key.split(' > ')[0]!))
}

test('of all who hammer pods from before their ADD, and of the pods themselves, only friends are heard, and soon', async () => {
  const targets = { n1: hammered('n1'), n2: hammered('n2') }
  const aims = { ...foes, [friend]: nodes }
  const pods = await preparePods(lab.cluster.state, podCount)
  const churn = createPodChurn(lab.cluster.state, listener, speaker)
  const hammers = await Promise.all(
    Object.entries(aims).map(([place, of]) =>
      hammer(
        place,
        of.flatMap((node) => targets[node]),
      ),
    ),
  )

  async function live(pod: ChurnedPod) {
    const started = await churn.start(pod, nodes.flatMap(anchorIPs))
    await speaker.speak(`${friend}:${pod.name}`, netnsOf(friend), started.podIPs)
    const firsts = await until(
      () => expectations(started),
      (seen) => !seen.includes(null),
    )
    await sleep(STAY_MS)
    await speaker.hush(`${friend}:${pod.name}`)
    await churn.remove(pod)
    const lateMs = firsts.map((first) => (first === null ? Infinity : Math.max(0, (first - started.visibleUs) / 1_000)))
    const heard = await listener.heard(pod.name)
    return { pod: started, lateMs, heard }
  }

  const began = monotonicUs()
  let changes = 0
  const changing = setInterval(() => churn.change(changes++), 1_000 / changesPerSecond)
  const lives = await atRate(pods, podsPerSecond, live)
  clearInterval(changing)

  const last = Math.max(...lives.map(({ pod }) => pod.visibleUs))
  const late = lives.flatMap(({ lateMs }) => lateMs).toSorted((a, b) => a - b)
  const everything = [...lives.map(({ heard }) => heard), await heardByAnchors()]
  const gapMs = Math.max(...everything.flatMap(gapsMs))
  console.log(
    `${podCount} pods, ${(podCount / ((last - began) / 1e6)).toFixed(1)} a second, ${changes} changes: the allowed were heard ` +
      `after p50 ${late[late.length >> 1]} ms, at most ${late.at(-1)}, then at most ${gapMs} ms apart`,
  )
  expect(
    lives.flatMap(({ pod }) => pod.podIPs).filter((ip) => !nodes.some((node) => targets[node].includes(ip))),
  ).toEqual([])
  expect(everything.flatMap(forbidden)).toEqual([])
  expect(late.at(-1)).not.toBe(Infinity)
  if (isSoak) expect(Math.max(late.at(-1)!, gapMs)).toBeLessThan(LATE_MS)

  // Whoever was kept out is heard once nothing keeps him out: it was policy that did.
  withdraw(lab.cluster.state, friendsOnly)
  const texts = Object.entries(foes).flatMap(([foe, of]) => of.flatMap(anchorIPs).map((ip) => `${foe} > ${ip}`))
  const heard = await until(heardByAnchors, (seen) => texts.every((text) => text in seen))
  expect(texts.filter((text) => !(text in heard))).toEqual([])
  const attempts = await Promise.all(hammers.map((each) => each.stop()))
  console.log(`${attempts.map((output) => output.trim().split('\n').at(-1)).join(' + ')} attempts`)
})

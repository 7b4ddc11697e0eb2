// SPDX-License-Identifier: Apache-2.0
// The guided tour of `make demo`: a lab of its own, one claim after the other, each shown with what was seen. A claim that
// does not hold ends the tour; the lab is taken down either way.

import { spawn } from 'node:child_process'
import type { PacketEvent, PlanReply, Status } from '../agent/api.ts'
import { askAgent, streamAgent } from '../agent/client.ts'
import { CommandError } from '../core/command-error.ts'
import { agentReady, agentSocket, endAgent, startAgent } from './agents.ts'
import type { Cluster } from './cluster.ts'
import { bringUp, leftovers, takeDown } from './lifecycle.ts'
import { withLabLock } from './lock.ts'
import { checkout } from './names.ts'
import { outsideIPs } from './network.ts'
import { readManifests } from './objects.ts'
import { commandAt } from './places.ts'
import { type Outcome, runProgram, waitUntil } from './process.ts'
import type { Answer } from './serve.ts'
import { familyOf } from './services.ts'

const lab = 'demo'
const examples = `${checkout}/docs/examples`

const drawing = `
     n1                                n2
    +------------------------+        +------------------------+
    |  cart  stranger  web-1 |        |                  web-2 |
    |     \\     |      /     |        |                  /     |
    |      heddle agent      |        |      heddle agent      |
    +-----------+------------+        +-----------+------------+
                |            VXLAN                |
                +----------- fabric --------------+
                               |
                            outside
`

export interface DemoOutput {
  readonly print: (text: string) => void
  readonly colour: boolean
}

/** Exit code of the tour: 0 only if every claim held. `keep` leaves the lab running for the reader. */
export async function runDemo(output: DemoOutput, keep: boolean): Promise<number> {
  return withLabLock(lab, async () => {
    const started = performance.now()
    await takeDown(lab)
    try {
      const claims = await tour(output)
      const seconds = ((performance.now() - started) / 1_000).toFixed(1)
      output.print(`\n${claims} of ${claims} claims held, in ${seconds} s.\n`)
    } catch (error) {
      await takeDown(lab)
      throw error
    }
    if (keep)
      output.print(`The lab stays: heddle lab status --name ${lab}; take it down: heddle lab down --name ${lab}\n`)
    else await showNothingIsLeft(output)
    return 0
  })
}

async function showNothingIsLeft(output: DemoOutput): Promise<void> {
  await takeDown(lab)
  const left = Object.values(leftovers(lab)).flat()
  if (left.length > 0) throw new CommandError(`the lab left ${left.join(', ')}`)
  output.print('The lab is down; no namespace, mount, cgroup, pin or process of it is left.\n')
}

async function tour(output: DemoOutput): Promise<number> {
  const guide = new Guide(output)
  guide.chapter('Two nodes on this machine, each a network namespace with the real agent')
  output.print(drawing)
  const cluster = await bringUp({ name: lab, nodeCount: 2, mode: 'vxlan', families: '46', wire: 'fabric' }, () => {})
  for (const { name } of cluster.state.nodes) {
    const status = await askAgent<Status>(agentSocket(lab, name), 'GET', '/v1/status')
    guide.claim(`the agent of ${name} is ready`, status.ready, `pid ${status.pid}, ABI ${status.version.abi}`)
  }
  const visit = new Visit(cluster, guide)
  await visit.startPods()
  await visit.podsTalk()
  await visit.serviceBalances()
  await visit.outsideSeesTheNode()
  const denied = await visit.policyDenies()
  await visit.agentsDie(denied)
  return guide.claims
}

/** Prints chapters and claims, counts them, and stops at the first that does not hold. */
class Guide {
  claims = 0
  readonly #output: DemoOutput

  constructor(output: DemoOutput) {
    this.#output = output
  }

  chapter(title: string): void {
    this.#output.print(`\n${this.#paint(1, `== ${title}`)}\n`)
  }

  does(place: string, argv: readonly string[]): void {
    this.#output.print(`  $ heddle lab exec --name ${lab} ${place} -- ${argv.join(' ')}\n`)
  }

  runs(command: string): void {
    this.#output.print(`  $ heddle ${command}\n`)
  }

  claim(what: string, holds: boolean, saw: string): void {
    this.claims++
    this.#output.print(`  ${holds ? this.#paint(32, 'ok') : this.#paint(31, 'NO')} ${what}: ${saw}\n`)
    if (!holds) throw new CommandError(`the demo's claim "${what}" does not hold: ${saw}`)
  }

  #paint(colour: number, text: string): string {
    return this.#output.colour ? `\u001b[${colour}m${text}\u001b[0m` : text
  }
}

class Visit {
  readonly #cluster: Cluster
  readonly #guide: Guide

  constructor(cluster: Cluster, guide: Guide) {
    this.#cluster = cluster
    this.#guide = guide
  }

  async startPods(): Promise<void> {
    this.#guide.chapter('Four pods, wired by the CNI plugin as a container runtime calls it, and a Service')
    this.#guide.runs(`lab apply docs/examples/shop.yaml --name ${lab}`)
    const { objects } = readManifests([`${examples}/shop.yaml`])
    const syncs = await this.#cluster.apply(objects)
    for (const { name, milliseconds } of syncs)
      this.#guide.claim(`${name} has programmed it`, milliseconds !== null, `${milliseconds?.toFixed(1)} ms`)
    for (const pod of this.#cluster.state.pods)
      this.#guide.claim(`${pod.name} on ${pod.node} is ready`, pod.ready, pod.podIPs.join(', '))
  }

  async podsTalk(): Promise<void> {
    this.#guide.chapter('Pods reach each other on one node and across nodes, without address translation')
    for (const [server, where] of [
      ['web-1', 'same node'],
      ['web-2', 'across nodes'],
    ] as const)
      for (const ip of this.#pod(server).podIPs) {
        const own = this.#ip('cart', familyOf(ip))
        const answer = await this.#get('shop/cart', url(ip, 8080))
        this.#guide.claim(
          `${where}, IPv${familyOf(ip)}`,
          answer.client === own,
          `${answer.server} saw ${answer.client}`,
        )
        const ping = await this.#run('shop/cart', ['ping', '-c', '3', '-i', '0.01', '-W', '2', ip])
        this.#guide.claim('ping', ping.exitCode === 0, ping.stdout.trim().split('\n').slice(-2).join(', '))
      }
  }

  async serviceBalances(): Promise<void> {
    this.#guide.chapter('A Service spreads over its backends on both nodes')
    for (const ip of this.#serviceIPs()) {
      const seen = await this.#getMany('shop/cart', url(ip, 80), 40)
      this.#guide.claim('both answer', seen.size === 2, countsText(seen))
    }
  }

  async outsideSeesTheNode(): Promise<void> {
    this.#guide.chapter("What leaves the cluster leaves with the node's address")
    const argv = [`${checkout}/bin/heddle`, 'lab', 'serve', '--http', '8080']
    const [command, ...args] = commandAt(this.#cluster.state, 'outside', argv) as [string, ...string[]]
    const server = spawn(command, args, { stdio: 'ignore' })
    try {
      for (const family of [4, 6] as const) {
        const target = url(outsideIPs[family], 8080)
        const listens = async () => (await this.#curl('outside', target, '1')).exitCode === 0
        if (!(await waitUntil(listens, 5_000))) throw new CommandError(`nothing listens on ${target} outside`)
        const answer = await this.#get('shop/cart', target)
        const node = this.#cluster.node('n1').internalIPs.find((ip) => familyOf(ip) === family)
        this.#guide.claim(`outside, IPv${family}`, answer.client === node, `it saw ${answer.client}, the address of n1`)
      }
    } finally {
      server.kill('SIGKILL')
    }
  }

  /** The URLs that the policy denies to the stranger. */
  async policyDenies(): Promise<string[]> {
    this.#guide.chapter('A policy denies, and says why')
    const targets = ['web-1', 'web-2'].flatMap((pod) => this.#pod(pod).podIPs.map((ip) => url(ip, 8080)))
    for (const target of targets) await this.#get('shop/stranger', target)
    this.#guide.claim('without a policy the stranger gets in', true, `${targets.length} answers`)
    this.#guide.runs(`lab apply docs/examples/only-cart.yaml --name ${lab}`)
    await this.#cluster.apply(readManifests([`${examples}/only-cart.yaml`]).objects)
    const local = new Set(this.#pod('web-1').podIPs.map((ip) => url(ip, 8080)))
    for (const target of targets) {
      const node = local.has(target) ? 'n1' : 'n2'
      const event = await this.#denied('shop/stranger', target, node)
      this.#guide.claim(`denied on ${node}`, event?.rule?.includes('shop/only-cart') ?? false, eventText(event))
      await this.#get('shop/cart', target)
    }
    this.#guide.claim('the cart still gets in', true, `${targets.length} answers`)
    return targets
  }

  async agentsDie(denied: readonly string[]): Promise<void> {
    this.#guide.chapter('Both agents are killed with SIGKILL; packets, Services and policy go on')
    for (const node of this.#cluster.state.nodes) {
      this.#guide.runs(`lab agent kill ${node.name} --name ${lab}`)
      this.#cluster.setNode(await endAgent(node, 'SIGKILL'))
    }
    for (const ip of this.#serviceIPs()) {
      const seen = await this.#getMany('shop/cart', url(ip, 80), 40)
      this.#guide.claim('the Service still spreads', seen.size === 2, countsText(seen))
    }
    for (const target of denied) {
      const refused = await this.#curl('shop/stranger', target, '0.5')
      this.#guide.claim('the stranger is still denied', refused.exitCode === 28, refused.stderr.trim())
    }
    this.#guide.chapter('The agents come back, adopt what the kernel holds, and change nothing')
    for (const node of this.#cluster.state.nodes) {
      this.#guide.runs(`lab agent start ${node.name} --name ${lab}`)
      const started = startAgent(lab, node)
      this.#cluster.setNode(started)
      await agentReady(lab, started)
      const { steps } = await askAgent<PlanReply>(agentSocket(lab, node.name), 'GET', '/v1/plan')
      this.#guide.claim(`${node.name} has nothing to do`, steps.length === 0, `heddle plan: ${steps.length} steps`)
    }
    const seen = await this.#getMany('shop/cart', url(this.#serviceIPs()[0]!, 80), 20)
    this.#guide.claim('the Service spreads', seen.size === 2, countsText(seen))
  }

  #pod(name: string): { readonly podIPs: readonly string[] } {
    return this.#cluster.state.pods.find((pod) => pod.name === `shop/${name}`)!
  }

  #ip(pod: string, family: 4 | 6): string | undefined {
    return this.#pod(pod).podIPs.find((ip) => familyOf(ip) === family)
  }

  #serviceIPs(): readonly string[] {
    return this.#cluster.services().find(({ name }) => name === 'web')!.clusterIPs
  }

  #run(place: string, argv: readonly string[]): Promise<Outcome> {
    this.#guide.does(place, argv)
    return runProgram(commandAt(this.#cluster.state, place, argv), { timeoutMs: 20_000 })
  }

  #curl(place: string, target: string, seconds: string): Promise<Outcome> {
    const argv = ['curl', '-sS', '--max-time', seconds, target]
    return runProgram(commandAt(this.#cluster.state, place, argv), { timeoutMs: 20_000 })
  }

  async #get(place: string, target: string): Promise<Answer> {
    this.#guide.does(place, ['curl', '-sS', '--max-time', '3', target])
    const outcome = await this.#curl(place, target, '3')
    if (outcome.exitCode !== 0) throw new CommandError(`${place} cannot reach ${target}: ${outcome.stderr.trim()}`)
    return JSON.parse(outcome.stdout) as Answer
  }

  /** Answers by server, of `count` connections, each a new one. */
  async #getMany(place: string, target: string, count: number): Promise<Map<string, number>> {
    const script = `for i in $(seq ${count}); do curl -sS --max-time 3 "$0" || exit 1; done`
    this.#guide.does(place, ['sh', '-c', `'${script.replace('"$0"', target)}'`])
    const argv = ['sh', '-c', script, target]
    const outcome = await runProgram(commandAt(this.#cluster.state, place, argv), { timeoutMs: 60_000 })
    if (outcome.exitCode !== 0) throw new CommandError(`${place} cannot reach ${target}: ${outcome.stderr.trim()}`)
    const answers = outcome.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Answer)
    return new Map([...Map.groupBy(answers, ({ server }) => server)].map(([server, list]) => [server, list.length]))
  }

  /** The drop event of a request that must not get through; null when none came within its two seconds. */
  async #denied(place: string, target: string, node: string): Promise<PacketEvent | null> {
    const until = new AbortController()
    const events = streamAgent<PacketEvent>(agentSocket(lab, node), '/v1/events', until.signal)
    const first = events.next()
    this.#guide.runs(`monitor --drops -f --lab ${lab} --node ${node}`)
    this.#guide.does(place, ['curl', '-sS', '--max-time', '1', target])
    const refused = await this.#curl(place, target, '1')
    if (refused.exitCode !== 28)
      throw new CommandError(`${place} must not reach ${target}: ${refused.stdout}${refused.stderr}`)
    const patience = setTimeout(() => until.abort(), 1_000)
    const { value, done } = await first
    clearTimeout(patience)
    until.abort()
    return done ? null : value
  }
}

function url(ip: string, port: number): string {
  return familyOf(ip) === 6 ? `http://[${ip}]:${port}/` : `http://${ip}:${port}/`
}

function countsText(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .toSorted()
    .map(([server, count]) => `${server} ${count} times`)
    .join(', ')
}

function eventText(event: PacketEvent | null): string {
  if (!event) return 'no event came'
  return `${event.reason} ${event.sourceName ?? event.source} -> ${event.destinationName ?? event.destination}:${event.destinationPort}, ${event.rule}`
}

// SPDX-License-Identifier: Apache-2.0
// `heddle lab`: a cluster on this machine. Each command opens the lab under its lock, makes one move, prints.

import { CommandError } from '../core/command-error.ts'
import { agentReady, endAgent, type NodeSync, startAgent } from '../lab/agents.ts'
import { Cluster } from '../lab/cluster.ts'
import { bringUp, takeDown } from '../lab/lifecycle.ts'
import { withLabLock } from '../lab/lock.ts'
import { checkLabName } from '../lab/names.ts'
import { setNodeLink, type Wire } from '../lab/network.ts'
import { type KubeManifest, readManifests } from '../lab/objects.ts'
import { commandAt } from '../lab/places.ts'
import { isAlive, runForeground } from '../lab/process.ts'
import { serve } from '../lab/serve.ts'
import { existingLabs, type Families, type LabNode, type Mode, readState } from '../lab/state.ts'
import { type LabStatus, labStatus } from '../lab/status.ts'
import { type Call, type CommandRow, textOption } from './command.ts'
import { bytesText, durationText, facts, printData, table } from './print.ts'
import { startProgress } from './progress.ts'

const nameOption = ['--name <lab>', 'which lab', 'lab'] as const

export const labCommands: readonly CommandRow[] = [
  {
    usage: 'lab up',
    summary:
      'Starts a cluster on this machine; returns when every agent is ready. The root network namespace is not touched.',
    examples: [
      'heddle lab up',
      'heddle lab up --name six --nodes 3 --mode native --families 46 --manifests docs/examples/shop.yaml',
    ],
    options: [
      nameOption,
      ['--nodes <count>', 'how many nodes', '2'],
      ['--mode <mode>', 'how packets reach pods of other nodes', 'vxlan'],
      ['--families <families>', 'IPv4, IPv6 or both', '46'],
      ['--wire <wire>', 'nodes on a fabric, or two (one and outside) on one veth pair, for measuring', 'fabric'],
      ['--manifests <path...>', 'files and folders to apply once it is up'],
    ],
    choices: { mode: ['vxlan', 'native'], families: ['4', '6', '46'], wire: ['fabric', 'direct'] },
    printsData: true,
    run: up,
  },
  {
    usage: 'lab apply <path...>',
    summary: 'Applies manifests (YAML or JSON, files or folders); returns when every node has programmed them.',
    examples: ['heddle lab apply docs/examples/shop.yaml'],
    options: [nameOption],
    printsData: true,
    run: (call) => change(call, 'applying', (cluster, objects) => cluster.apply(objects)),
  },
  {
    usage: 'lab delete <path...>',
    summary: 'Deletes the objects that manifests name; returns when every node has let go of them.',
    examples: ['heddle lab delete docs/examples/shop.yaml'],
    options: [nameOption],
    printsData: true,
    run: (call) => change(call, 'deleting', (cluster, objects) => cluster.delete(objects)),
  },
  {
    usage: 'lab exec <place> <command...>',
    summary: "Runs a command at a place: NS/POD, node/NAME, outside or fabric. Its exit code is this command's.",
    examples: ['heddle lab exec shop/cart -- ip address', 'heddle lab exec fabric -- tcpdump -ni br0'],
    options: [nameOption],
    run: async (call) => {
      const [place, ...argv] = call.args as [string, ...string[]]
      return runForeground(commandAt(readState(labName(call)), place, argv))
    },
  },
  {
    usage: 'lab status',
    summary: 'Nodes, agents, pods and Services of a lab.',
    examples: ['heddle lab status -o json'],
    options: [nameOption],
    printsData: true,
    run: async (call) => {
      printData(call, await labStatus(Cluster.open(labName(call))), statusText)
      return undefined
    },
  },
  {
    usage: 'lab agent stop <node>',
    summary: 'Ends the agent of a node with SIGTERM. Packets go on.',
    examples: ['heddle lab agent stop n1'],
    options: [nameOption],
    run: (call) => changeNode(call, async (_, node) => endAgent(node, 'SIGTERM')),
  },
  {
    usage: 'lab agent kill <node>',
    summary: 'Ends the agent of a node with SIGKILL. Packets go on.',
    examples: ['heddle lab agent kill n1'],
    options: [nameOption],
    run: (call) => changeNode(call, async (_, node) => endAgent(node, 'SIGKILL')),
  },
  {
    usage: 'lab agent start <node>',
    summary: 'Starts the agent of a node; returns when it is ready.',
    examples: ['heddle lab agent start n1'],
    options: [nameOption],
    run: (call) => changeNode(call, startNodeAgent),
  },
  {
    usage: 'lab agent restart <node>',
    summary: 'Ends the agent of a node with SIGTERM and starts it again; returns when it is ready.',
    examples: ['heddle lab agent restart n1'],
    options: [nameOption],
    run: (call) => changeNode(call, async (cluster, node) => startNodeAgent(cluster, await endAgent(node, 'SIGTERM'))),
  },
  {
    usage: 'lab node cut <node>',
    summary: "Pulls a node's fabric link.",
    examples: ['heddle lab node cut n2'],
    options: [nameOption],
    run: (call) => changeNode(call, (cluster, node) => setLink(cluster, node, false)),
  },
  {
    usage: 'lab node join <node>',
    summary: "Plugs a node's fabric link in again.",
    examples: ['heddle lab node join n2'],
    options: [nameOption],
    run: (call) => changeNode(call, (cluster, node) => setLink(cluster, node, true)),
  },
  {
    usage: 'lab down',
    summary: 'Takes a lab down and leaves nothing, also after a crash half-way.',
    examples: ['heddle lab down', 'heddle lab down --all'],
    options: [nameOption, ['--all', 'every lab of this machine']],
    run: async (call) => {
      const labs = call.options.all === true ? existingLabs() : [labName(call)]
      for (const lab of labs) await withLabLock(lab, () => takeDown(lab))
      return undefined
    },
  },
  {
    usage: 'lab serve',
    summary: 'A small server for pods: answers HTTP and UDP with its own name and the address it sees the client at.',
    examples: ['heddle lab serve --http 8080 --udp 5353'],
    options: [
      ['--http <port>', 'HTTP port'],
      ['--udp <port>', 'UDP port'],
    ],
    run: async (call) => {
      await serve({ name: process.env.HOSTNAME ?? 'unnamed', httpPort: port(call, 'http'), udpPort: port(call, 'udp') })
      call.print('listening\n')
      return undefined
    },
  },
  {
    usage: 'lab demo',
    summary: 'A guided tour on a lab of its own: what it does, what it saw. Exit code 0 only if every claim held.',
    examples: ['heddle lab demo', 'heddle lab demo --keep'],
    options: [['--keep', 'leave the lab running at the end']],
    run: async (call) => (await import('../lab/demo.ts')).runDemo(call, call.options.keep === true),
  },
]

function labName(call: Call): string {
  return checkLabName(textOption(call, 'name')!)
}

function port(call: Call, option: string): number | null {
  const text = textOption(call, option)
  if (text === undefined) return null
  if (/^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536) return Number(text)
  throw new CommandError(`--${option} takes a port from 1 to 65535, not "${text}"`, 2)
}

async function up(call: Call): Promise<undefined> {
  const name = labName(call)
  const nodeCount = Number(textOption(call, 'nodes'))
  if (!Number.isInteger(nodeCount) || nodeCount < 1 || nodeCount > 100)
    throw new CommandError(`--nodes takes a number from 1 to 100, not "${textOption(call, 'nodes')}"`, 2)
  const plan = {
    name,
    nodeCount,
    mode: call.options.mode as Mode,
    families: call.options.families as Families,
    wire: call.options.wire as Wire,
  }
  const { objects, problems } = readManifests((call.options.manifests ?? []) as string[])
  if (problems.length > 0) throw new CommandError(problems.join('\n'), 2)
  const progress = startProgress(call.warn)
  await withLabLock(name, async () => {
    const cluster = await bringUp(plan, progress.step)
    progress.step('applying the manifests')
    if (objects.length > 0) await cluster.apply(objects)
    progress.done()
    printData(call, await labStatus(cluster), statusText)
  }).finally(progress.done)
  return undefined
}

async function change(
  call: Call,
  doing: string,
  move: (cluster: Cluster, objects: readonly KubeManifest[]) => Promise<NodeSync[]>,
): Promise<number> {
  const manifests = readManifests(call.args)
  const progress = startProgress(call.warn)
  progress.step(`${doing} ${manifests.objects.length} objects`)
  const syncs = await withLabLock(labName(call), () => move(Cluster.open(labName(call)), manifests.objects)).finally(
    progress.done,
  )
  printData(call, { nodes: syncs }, syncText)
  for (const { name, problems } of syncs) for (const problem of problems) call.warn(`heddle: node ${name}: ${problem}`)
  for (const problem of manifests.problems) call.warn(`heddle: ${problem}`)
  return manifests.problems.length > 0 || syncs.some(({ problems }) => problems.length > 0) ? 2 : 0
}

function syncText({ nodes }: { readonly nodes: readonly NodeSync[] }): string {
  const last = (milliseconds: number | null) =>
    milliseconds === null ? 'its agent is stopped; takes effect at its next start' : durationText(milliseconds)
  return facts(nodes.map(({ name, milliseconds }) => [name, last(milliseconds)]))
}

async function changeNode(call: Call, move: (cluster: Cluster, node: LabNode) => Promise<LabNode>): Promise<undefined> {
  await withLabLock(labName(call), async () => {
    const cluster = Cluster.open(labName(call))
    const node = cluster.node(call.args[0]!)
    cluster.setNode(await move(cluster, node))
  })
  return undefined
}

/** An agent that runs goes on. */
async function startNodeAgent(cluster: Cluster, node: LabNode): Promise<LabNode> {
  const started = isAlive(node.agent) ? node : startAgent(cluster.state.name, node)
  cluster.setNode(started)
  await agentReady(cluster.state.name, started)
  return started
}

async function setLink(cluster: Cluster, node: LabNode, up: boolean): Promise<LabNode> {
  await setNodeLink(cluster.state.name, node.name, up)
  return { ...node, cut: !up }
}

function statusText(status: LabStatus): string {
  return [
    `lab ${status.name}: ${status.mode}, ${[...status.families].map((family) => `IPv${family}`).join(' and ')}\n`,
    table(
      ['NODE', 'ADDRESSES', 'POD CIDRS', 'AGENT', 'READY', 'RESIDENT', 'LINK'],
      status.nodes.map(({ name, internalIPs, podCIDRs, agent, cut }) => [
        name,
        internalIPs,
        podCIDRs,
        agent.pid === null ? 'stopped' : `pid ${agent.pid}`,
        agent.ready,
        agent.pid === null ? '-' : bytesText(agent.rssBytes),
        cut ? 'cut' : 'up',
      ]),
    ),
    ...(status.pods.length === 0
      ? []
      : [
          table(
            ['POD', 'NODE', 'ADDRESSES', 'PHASE', 'READY'],
            status.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod.node, pod.podIPs, pod.phase, pod.ready]),
          ),
        ]),
    ...(status.services.length === 0
      ? []
      : [
          table(
            ['SERVICE', 'CLUSTER IPS'],
            status.services.map((service) => [`${service.namespace}/${service.name}`, service.clusterIPs]),
          ),
        ]),
  ].join('\n')
}

// SPDX-License-Identifier: Apache-2.0
// The chart on a real API server: what an operator, a GitOps controller and an auditor see of it.

import { expect } from 'vitest'
import { runProgram, waitUntil } from '../../src/lab/process.ts'
import type { Mode } from '../../src/lab/state.ts'
import type { Cluster } from './cluster.ts'
import { chartArguments } from './heddle.ts'
import { agentLabel, agentStatus, killContainer, podsOf } from './pods.ts'
import { service } from './workloads.ts'

/** include/uapi/linux/capability.h: NET_ADMIN 12, SYS_ADMIN 21. */
const NET_ADMIN_AND_SYS_ADMIN = (1n << 12n) | (1n << 21n)

async function helm(cluster: Cluster, ...argv: readonly string[]) {
  return runProgram(cluster.helmCommand(argv), { timeoutMs: 120_000 })
}

async function revision(cluster: Cluster): Promise<number> {
  const { stdout } = await helm(cluster, 'status', 'heddle', '-n', 'kube-system', '-o', 'json')
  return (JSON.parse(stdout) as { version: number }).version
}

export interface RoleRule {
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
}

export async function setRules(cluster: Cluster, rules: readonly RoleRule[]): Promise<void> {
  await cluster.kubectl(['patch', 'clusterrole', 'heddle', '--type=merge', '-p', JSON.stringify({ rules })])
}

export function withoutVerb(rules: readonly RoleRule[], verb: string, resource: string): RoleRule[] {
  return rules.map((rule) =>
    rule.resources.includes(resource) ? { ...rule, verbs: rule.verbs.filter((each) => each !== verb) } : rule,
  )
}

/** Standard output of a script that runs in an agent's container, always that of the same agent. */
async function inAgent(cluster: Cluster, script: string): Promise<string> {
  const [agent] = await podsOf(cluster, 'kube-system', agentLabel)
  const argv = ['-n', 'kube-system', agent!.name, '-c', 'agent', '--', '/opt/heddle/bin/node', '-p', script]
  return cluster.kubectl(['exec', ...argv])
}

export const deployCases: readonly {
  readonly name: string
  readonly check: (cluster: Cluster, mode: Mode) => Promise<void>
}[] = [
  {
    name: 'a controller that compares the chart with the cluster sees no drift',
    async check(cluster, mode) {
      const rendered = await helm(
        cluster,
        'template',
        ...(await chartArguments(cluster, mode)),
        '--kube-version=1.34.0',
      )
      expect(rendered.exitCode, rendered.stderr).toBe(0)
      // Exit code 1 of `kubectl diff` is a difference, which kubectl() would report.
      expect(await cluster.kubectl(['diff', '-f', '-'], rendered.stdout)).toBe('')
      expect(await cluster.kubectl(['diff', '--server-side', '--force-conflicts', '-f', '-'], rendered.stdout)).toBe('')
    },
  },
  {
    name: 'a value out of schema is refused before anything is applied',
    async check(cluster, mode) {
      const before = await revision(cluster)
      const refused = await helm(cluster, 'upgrade', ...(await chartArguments(cluster, mode)), '--set=config.mtu=9')
      expect(refused.exitCode).not.toBe(0)
      expect(refused.stderr).toContain("at '/config/mtu'")
      expect(await revision(cluster)).toBe(before)
    },
  },
  {
    name: 'the agent has two capabilities and cannot write its root file system',
    async check(cluster) {
      const status = await inAgent(cluster, "fs.readFileSync('/proc/1/status', 'utf8')")
      const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1]}`)
      expect(capabilities).toBe(NET_ADMIN_AND_SYS_ADMIN)
      expect(status).toMatch(/^NoNewPrivs:\s*1$/m)
      expect(status).toMatch(/^Seccomp:\s*2$/m)
      const attempt = "try { fs.writeFileSync('/opt/heddle/x', ''); 'written' } catch (error) { error.code }"
      expect((await inAgent(cluster, attempt)).trim()).toBe('EROFS')
    },
  },
  {
    name: 'with the token of an agent no Node can be changed but its own',
    async check(cluster) {
      const token = await inAgent(
        cluster,
        "fs.readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/token', 'utf8')",
      )
      const own = (await inAgent(cluster, 'process.env.HEDDLE_NODE_NAME')).trim()
      const server = await cluster.kubectl([
        'config',
        'view',
        '--minify',
        '-o',
        'jsonpath={.clusters[0].cluster.server}',
      ])
      // Without the administrator's certificate, which would count first.
      const asAgent = [
        '--kubeconfig=/dev/null',
        `--server=${server}`,
        '--insecure-skip-tls-verify',
        `--token=${token.trim()}`,
      ]
      const annotate = (node: string) =>
        cluster.kubectl([...asAgent, 'annotate', 'node', node, 'heddle.test/x=1', '--overwrite'])
      for (const node of cluster.nodes) {
        if (node === own) expect(await annotate(node)).toContain('annotated')
        // The API server takes a moment to enforce an admission policy.
        else
          await expect
            .poll(() => annotate(node).catch(String), { timeout: 20_000 })
            .toContain('an agent of Heddle may change the Node only that it runs on')
      }
    },
  },
  {
    name: 'an agent whose role lacks a verb says verb, resource and chart value, goes on with what it remembers, and asks until it is granted',
    async check(cluster) {
      const { rules } = await cluster.getJson<{ rules: RoleRule[] }>('clusterrole', 'heddle')
      const agents = await podsOf(cluster, 'kube-system', agentLabel)
      // kubelet is slower to restart what was killed before: later cases kill the one of n2.
      const agent = agents.find(({ node }) => node === 'n1')!
      const missing =
        "the account needs verb watch on networkpolicies.networking.k8s.io; Heddle's chart grants it with rbac.create=true"
      try {
        await setRules(cluster, withoutVerb(rules, 'watch', 'networkpolicies'))
        await killContainer(cluster, agent) // of a watch that is open nobody asks again whether it is permitted
        await expect
          .poll(() => agentStatus(cluster, agent), { timeout: 60_000 })
          .toSatisfy((status: string) => /^Ready +yes/m.test(status) && status.includes(missing))
        // Up to a second longer than exec, kubelet takes the container that was killed for the present one.
        const log = () => cluster.kubectl(['-n', 'kube-system', 'logs', agent.name, '-c', 'agent'])
        await expect.poll(log, { timeout: 60_000 }).toContain(missing)
      } finally {
        await setRules(cluster, rules)
      }
      await expect.poll(() => agentStatus(cluster, agent), { timeout: 60_000 }).not.toContain(missing)
    },
  },
  {
    name: 'a Service that is refused says why in its one Event',
    async check(cluster) {
      const name = 'refused'
      const balancing = { 'service.heddle.network/balancing': 'shortest-queue' }
      await cluster.apply({
        ...service('default', name),
        metadata: { namespace: 'default', name, annotations: balancing },
      })
      const selector = `involvedObject.kind=Service,involvedObject.name=${name},reason=Refused`
      const told = async () =>
        (await cluster.getJson<{ items: { message: string }[] }>('events', '--field-selector', selector)).items
      await waitUntil(async () => (await told()).length > 0, 60_000)
      const described = await cluster.kubectl(['describe', 'service', name])
      expect(described).toContain('heddle-agent')
      expect(described).toContain('shortest-queue')
      expect(await told()).toHaveLength(1)
      await cluster.kubectl(['delete', 'service', name])
    },
  },
]

/** Follows docs/kubernetes.md to its end, and asserts that no node holds anything that would change a packet. */
export async function takeOff(cluster: Cluster, mode: Mode): Promise<void> {
  const off = await helm(cluster, 'upgrade', ...(await chartArguments(cluster, mode)), '--set=uninstall=true')
  expect(off.exitCode, off.stderr).toBe(0)
  await cluster.kubectl(['-n', 'kube-system', 'rollout', 'status', 'daemonset/heddle', '--timeout=120s'])
  for (const node of cluster.nodes) {
    const left = await cluster.run(node, ['sh', '-c', 'ls -d /sys/fs/bpf/heddle /etc/cni/net.d/*heddle* 2>/dev/null'])
    expect(left.stdout, node).toBe('')
    const devices = await cluster.run(node, ['ip', '-brief', 'link'])
    expect(devices.stdout, node).not.toMatch(/^hd[0-9a-f]{12}/m)
  }
  const gone = await helm(cluster, 'uninstall', 'heddle', '-n', 'kube-system', '--wait')
  expect(gone.exitCode, gone.stderr).toBe(0)
}

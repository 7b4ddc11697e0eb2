// SPDX-License-Identifier: Apache-2.0
// What Helm makes of the chart. The rendered texts are in golden/; `npx vitest run --project deploy -u` rewrites them.

import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { findHelm } from '../../tools/helm.ts'

const chart = 'deploy/helm/heddle'
const helm = findHelm()

/** What Helm prints; throws with what it says when it refuses. */
function run(command: 'lint' | 'template', values: readonly string[]): string {
  const target = command === 'lint' ? [chart, '--strict'] : ['heddle', chart, '--namespace', 'kube-system']
  const sets = values.flatMap((value) => ['--set', value])
  return execFileSync(helm!, [command, ...target, '--kube-version', '1.34.0', ...sets], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function withHelm(name: string, body: () => void | Promise<void>): void {
  test(name, async (context) => {
    context.skip(helm === undefined, 'no Helm on this machine: `make cluster-test` builds one')
    await body()
  })
}

const rendered: Readonly<Record<string, readonly string[]>> = {
  'one-server': ['k8sServiceHost=fd00::1', 'config.mode=native', 'config.vni=16777215', 'mountBpffs=false'],
  'two-servers': [
    'apiServers={https://10.0.0.1:6443,https://10.0.0.2:6443}',
    'config.metricsAddress=0.0.0.0:9000',
    'config.mapSizes.flows=1048576',
    'serviceMonitor.enabled=true',
    'serviceMonitor.labels.release=prometheus',
    'image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000',
    'image.pullSecrets[0].name=registry',
    'podAnnotations.team=network',
  ],
  'without-rights': [
    'rbac.create=false',
    'rbac.ownNodeOnly=false',
    'serviceAccount.create=false',
    'serviceAccount.name=network',
    'tolerations=null',
  ],
  uninstall: ['uninstall=true'],
}

for (const [name, values] of Object.entries(rendered)) {
  withHelm(`values as in ${name} render as before`, async () => {
    run('lint', values)
    await expect(run('template', values)).toMatchFileSnapshot(`golden/${name}.yaml`)
  })
}

withHelm('two renderings are equal: a controller that compares them sees no drift', () => {
  expect(run('template', [])).toBe(run('template', []))
})

const refused: readonly (readonly [value: string, says: string])[] = [
  ['config.mode=ipip', "at '/config/mode': value must be one of 'native', 'vxlan'"],
  ['config.mtu=1000', "at '/config/mtu'"],
  ['config.mtu=large', "at '/config/mtu'"],
  ['config.vni=16777216', "at '/config/vni'"],
  ['config.nodeName=n1', "at '/config': additional properties 'nodeName' not allowed"],
  ['config.serviceCIDRs={10.96.0.0}', "at '/config/serviceCIDRs/0'"],
  ['config.serviceCIDRs={10.96.0.0/33}', "at '/config/serviceCIDRs/0'"],
  ['config.serviceCIDRs={10.256.0.0/16}', "at '/config/serviceCIDRs/0'"],
  ['config.nodePortAddresses={fd00::/129}', "at '/config/nodePortAddresses/0'"],
  ['config.natPortMin=50000,config.natPortMax=40000', 'config.natPortMin 50000 is above config.natPortMax 40000'],
  ['config.metricsAddress=0.0.0.0:0', "at '/config/metricsAddress'"],
  ['config.proxyHealthAddress=0.0.0.0:65536', "at '/config/proxyHealthAddress'"],
  ['config.metricsAddress=off', "at '/config/metricsAddress'"],
  ['config.mapSizes.flows=0', "at '/config/mapSizes/flows'"],
  ['config.mapSizes.flow=1024', "at '/config/mapSizes': additional properties 'flow' not allowed"],
  ['k8sServicePort=65536', "at '/k8sServicePort'"],
  ['k8sServiceHost=https://10.0.0.1', "at '/k8sServiceHost'"],
  ['k8sServiceHost=10.0.0.1:6443', "at '/k8sServiceHost'"],
  ['k8sServiceHost=api.example.com:6443', "at '/k8sServiceHost'"],
  ['apiServers={https://10.0.0.1?x}', "at '/apiServers/0'"],
  ['apiServers={http://10.0.0.1}', "at '/apiServers/0'"],
  ['host.cgroup=relative', "at '/host/cgroup'"],
  ['host.cgroup=/sys/../etc', "at '/host/cgroup'"],
  ['host.cniConfDir=/etc/$(id)', "at '/host/cniConfDir'"],
  ['image.pullPolicy=Sometimes', "at '/image/pullPolicy'"],
  ['image.repository=', "at '/image/repository'"],
  ['maxUnavailable=0', "at '/maxUnavailable'"],
  ['podLabels.app\\.kubernetes\\.io/name=other', "invalid propertyName 'app.kubernetes.io/name'"],
  ['imagee.tag=1', "additional properties 'imagee' not allowed"],
  ['rbac.create=maybe', "at '/rbac/create'"],
  ['priorityClassName=Very high', "at '/priorityClassName'"],
  ['tolerations[0].operater=Exists', "at '/tolerations/0': additional properties 'operater' not allowed"],
  ['tolerations[0].effect=NoRun', "at '/tolerations/0/effect'"],
  ['affinity.nodeAfinity.x=1', "at '/affinity': additional properties 'nodeAfinity' not allowed"],
  ['resources.requests.memory=128 Mi', "at '/resources/requests/memory'"],
  ['resources.limits.cpu=-1', "at '/resources/limits/cpu'"],
  ['image.pullSecrets[0].name=A', "at '/image/pullSecrets/0/name'"],
  ['serviceAccount.name=a: b', "at '/serviceAccount/name'"],
  ['serviceMonitor.enabled=true', 'set config.metricsAddress to 0.0.0.0:9964'],
  ['k8sServiceHost=10.0.0.1,apiServers={https://10.0.0.1:6443}', 'two ways to say one thing'],
]

for (const [value, says] of refused) {
  withHelm(`${value} is refused`, () => {
    expect(() => run('template', [value])).toThrow(says)
  })
}

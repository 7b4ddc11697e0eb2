// SPDX-License-Identifier: Apache-2.0
// The reference network: ptp and host-local of the CNI project's plugins, with routes between the nodes.

import type { Cluster } from './cluster.ts'

/** Writes the node's CNI configuration, as a network's installer does: beside its name, then renamed. */
export async function configurePtp(cluster: Cluster, node: string, podCIDRs: readonly string[]): Promise<void> {
  const configuration = {
    cniVersion: '1.0.0',
    name: 'ptp',
    plugins: [
      {
        type: 'ptp',
        mtu: 1500,
        ipMasq: false,
        ipam: {
          type: 'host-local',
          ranges: podCIDRs.map((subnet) => [{ subnet }]),
          routes: podCIDRs.map((cidr) => ({ dst: cidr.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  }
  const script = 'cat >/etc/cni/net.d/.new && mv /etc/cni/net.d/.new /etc/cni/net.d/10-ptp.conflist'
  const outcome = await cluster.run(node, ['sh', '-c', script], { input: JSON.stringify(configuration) })
  if (outcome.exitCode !== 0) throw new Error(`${node}: cannot write the CNI configuration: ${outcome.stderr}`)
}

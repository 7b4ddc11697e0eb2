// SPDX-License-Identifier: Apache-2.0
// The rules that kube-proxy's iptables mode writes, as iptables-restore reads them.
// Source: kubernetes/pkg/proxy/iptables/proxier.go syncProxyRules (v1.34), two endpoints each, no node ports in use.

import { createHash } from 'node:crypto'

const port = 8080
const comment = (text: string) => `-m comment --comment "${text}"`

/** Rules of `services` ClusterIPs 10.96.x.y, none of which has an endpoint that exists. */
export function kubeProxyRules(services: number): string {
  const all = Array.from({ length: services }, (_, index) => serviceRules(index + 1))
  return `${[
    '*nat',
    ...['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-MARK-MASQ'].map(chain),
    ...all.flatMap((service) => service.chains.map(chain)),
    ...hook(['PREROUTING', 'OUTPUT'], 'KUBE-SERVICES', '', 'kubernetes service portals'),
    ...hook(['POSTROUTING'], 'KUBE-POSTROUTING', '', 'kubernetes postrouting rules'),
    '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
    '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
    '-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000',
    '-A KUBE-POSTROUTING -j MASQUERADE --random-fully',
    ...all.map((service) => service.dispatch),
    '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    ...all.flatMap((service) => service.rules),
    'COMMIT',
    '*filter',
    ...filterChains.map(chain),
    ...filterRules,
    'COMMIT',
  ].join('\n')}\n`
}

function chain(name: string): string {
  return `:${name} - [0:0]`
}

function hook(builtIn: readonly string[], target: string, match: string, text: string): readonly string[] {
  return builtIn.map((name) => `-A ${name} ${match} ${comment(text)} -j ${target}`)
}

function chainName(kind: 'SVC' | 'SEP', text: string): string {
  return `KUBE-${kind}-${createHash('sha256').update(text).digest('hex').slice(0, 16).toUpperCase()}`
}

function serviceRules(number: number) {
  const low = `${(number >> 8) & 255}.${number & 255}`
  const clusterIP = `10.96.${low}`
  const endpoints = [`10.78.${low}`, `10.79.${low}`]
  const name = `ns/svc-${number}:http`
  const service = chainName('SVC', name)
  const separate = endpoints.map((endpoint) => chainName('SEP', `${name}/${endpoint}`))
  const match = `-d ${clusterIP}/32 -p tcp ${comment(`${name} cluster IP`)} -m tcp --dport ${port}`
  return {
    chains: [service, ...separate],
    dispatch: `-A KUBE-SERVICES ${match} -j ${service}`,
    rules: [
      `-A ${service} ! -s 10.77.0.0/16 ${match} -j KUBE-MARK-MASQ`,
      `-A ${service} ${comment(name)} -m statistic --mode random --probability 0.50000000000 -j ${separate[0]}`,
      `-A ${service} ${comment(name)} -j ${separate[1]}`,
      ...endpoints.flatMap((endpoint, index) => [
        `-A ${separate[index]} -s ${endpoint}/32 ${comment(name)} -j KUBE-MARK-MASQ`,
        `-A ${separate[index]} -p tcp ${comment(name)} -m tcp -j DNAT --to-destination ${endpoint}:${port}`,
      ]),
    ],
  }
}

const filterChains = [
  'KUBE-FORWARD',
  'KUBE-SERVICES',
  'KUBE-EXTERNAL-SERVICES',
  'KUBE-FIREWALL',
  'KUBE-NODEPORTS',
  'KUBE-PROXY-FIREWALL',
]

const newFlow = '-m conntrack --ctstate NEW'
const filterRules = [
  ...hook(['INPUT', 'OUTPUT', 'FORWARD'], 'KUBE-PROXY-FIREWALL', newFlow, 'kubernetes load balancer firewall'),
  ...hook(['INPUT'], 'KUBE-NODEPORTS', '', 'kubernetes health check service ports'),
  ...hook(['INPUT', 'FORWARD'], 'KUBE-EXTERNAL-SERVICES', newFlow, 'kubernetes externally-visible service portals'),
  ...hook(['INPUT', 'OUTPUT'], 'KUBE-FIREWALL', '', 'kubernetes firewall'),
  ...hook(['FORWARD'], 'KUBE-FORWARD', '', 'kubernetes forwarding rules'),
  ...hook(['FORWARD', 'OUTPUT'], 'KUBE-SERVICES', newFlow, 'kubernetes service portals'),
  '-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
  '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
  '-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT',
  '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
]

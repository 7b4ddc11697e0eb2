// SPDX-License-Identifier: Apache-2.0
// The rules that kube-proxy writes: of its iptables mode as iptables-restore reads them, of its nftables mode as nft does.
// Sources: kubernetes/pkg/proxy/iptables/proxier.go and nftables/proxier.go, syncProxyRules (v1.34).

import { createHash } from 'node:crypto'
import { measuredService } from './service-crowd.ts'

interface ServicePort {
  readonly name: string
  readonly clusterIP: string
  readonly port: number
  readonly nodePort?: number
  /** Addresses; they answer on the same port. */
  readonly endpoints: readonly string[]
}

const podCIDR = '10.77.0.0/16'
const comment = (text: string) => `-m comment --comment "${text}"`

/** One port of each of `count` Services, 10.96.x.y, whose two endpoints do not exist; in the middle, where kube-proxy's random
 *  order puts it on average, the measured one with its two ports. */
function servicePorts(count: number, backend: string): readonly ServicePort[] {
  const others: readonly ServicePort[] = Array.from({ length: count - 1 }, (_, index) => {
    const low = `${(index >> 8) & 255}.${index & 255}`
    const endpoints = [`10.78.${low}`, `10.79.${low}`]
    return { name: `ns/svc-${index}:http`, clusterIP: `10.96.${low}`, port: 8080, endpoints }
  })
  const { address, controlPort, dataPort, nodeControlPort } = measuredService
  const measured = { clusterIP: address, endpoints: [backend] }
  return others.toSpliced(
    Math.floor(others.length / 2),
    0,
    { ...measured, name: 'ns/measured:control', port: controlPort, nodePort: nodeControlPort },
    { ...measured, name: 'ns/measured:data', port: dataPort, nodePort: dataPort },
  )
}

/** iptables mode, for `count` Services of which one has this endpoint. */
export function iptablesRules(count: number, backend: string): string {
  const all = servicePorts(count, backend).map(iptablesOf)
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
    ...all.flatMap((service) => service.nodePort),
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

function chainName(kind: 'SVC' | 'SEP' | 'EXT', text: string): string {
  return `KUBE-${kind}-${hash(text, 16)}`
}

function hash(text: string, length: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, length).toUpperCase()
}

function iptablesOf({ name, clusterIP, port, nodePort, endpoints }: ServicePort) {
  const service = chainName('SVC', name)
  const external = chainName('EXT', name)
  const separate = endpoints.map((endpoint) => chainName('SEP', `${name}/${endpoint}`))
  const match = `-d ${clusterIP}/32 -p tcp ${comment(`${name} cluster IP`)} -m tcp --dport ${port}`
  const hasNodePort = nodePort !== undefined
  return {
    chains: [service, ...separate, ...(hasNodePort ? [external] : [])],
    dispatch: `-A KUBE-SERVICES ${match} -j ${service}`,
    nodePort: hasNodePort
      ? [
          `-A KUBE-NODEPORTS -p tcp ${comment(name)} -m tcp --dport ${nodePort} -j ${external}`,
          `-A ${external} ${comment(`masquerade traffic for ${name} external destinations`)} -j KUBE-MARK-MASQ`,
          `-A ${external} -j ${service}`,
        ]
      : [],
    rules: [
      `-A ${service} ! -s ${podCIDR} ${match} -j KUBE-MARK-MASQ`,
      ...separate.map(
        (chain, index) => `-A ${service} ${comment(name)} ${chance(endpoints.length - index)} -j ${chain}`,
      ),
      ...endpoints.flatMap((endpoint, index) => [
        `-A ${separate[index]} -s ${endpoint}/32 ${comment(name)} -j KUBE-MARK-MASQ`,
        `-A ${separate[index]} -p tcp ${comment(name)} -m tcp -j DNAT --to-destination ${endpoint}:${port}`,
      ]),
    ],
  }
}

/** One of those that are left; the last one takes what comes. */
function chance(left: number): string {
  return left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(11)}`
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

/** nftables mode, for `count` Services of which one has this endpoint, on a node with this address. */
export function nftablesRules(count: number, backend: string, nodeIP: string): string {
  const all = servicePorts(count, backend)
  const services = all.map((each) => `${each.clusterIP} . tcp . ${each.port} : goto ${nftChain('service', each.name)}`)
  const nodePorts = all.flatMap(({ name, nodePort }) =>
    nodePort === undefined ? [] : [`tcp . ${nodePort} : goto ${nftChain('external', name)}`],
  )
  const clusterIPs = [...new Set(all.map(({ clusterIP }) => clusterIP))]
  return `${[
    'table ip kube-proxy {',
    nftSet('set', 'cluster-ips', 'ipv4_addr', clusterIPs),
    nftSet('set', 'nodeport-ips', 'ipv4_addr', [nodeIP]),
    nftSet('map', 'firewall-ips', `${nftFrontend} : verdict`, []),
    nftSet('map', 'no-endpoint-services', `${nftFrontend} : verdict`, []),
    nftSet('map', 'no-endpoint-nodeports', 'inet_proto . inet_service : verdict', []),
    ...nftHelperChains,
    ...all.flatMap(nftChainsOf),
    nftSet('map', 'service-ips', `${nftFrontend} : verdict`, services),
    nftSet('map', 'service-nodeports', 'inet_proto . inet_service : verdict', nodePorts),
    ...nftHooks,
    '}',
  ].join('\n')}\n`
}

const nftFrontend = 'ipv4_addr . inet_proto . inet_service'

function nftSet(kind: 'set' | 'map', name: string, type: string, elements: readonly string[]): string {
  const content = elements.length === 0 ? '' : `elements = { ${elements.join(', ')} }`
  return `${kind} ${name} { type ${type}\n${content}\n}`
}

function nftChain(kind: 'service' | 'external' | 'endpoint', name: string): string {
  return `${kind}-${hash(name, 8)}-${name.replace(/[^a-z0-9.]/g, '/')}`
}

function nftBlock(name: string, ...rules: readonly string[]): string {
  return `chain ${name} {\n${rules.join('\n')}\n}`
}

function nftChainsOf({ name, clusterIP, port, nodePort, endpoints }: ServicePort): readonly string[] {
  const service = nftChain('service', name)
  const chains = endpoints.map((endpoint) => nftChain('endpoint', `${name}/${endpoint}`))
  const choices = chains.map((chain, index) => `${index} : goto ${chain}`)
  const mark = 'jump mark-for-masquerade'
  return [
    ...endpoints.map((endpoint, index) =>
      nftBlock(chains[index]!, `ip saddr ${endpoint} ${mark}`, `meta l4proto tcp dnat to ${endpoint}:${port}`),
    ),
    nftBlock(
      service,
      `ip daddr ${clusterIP} ip saddr != ${podCIDR} ${mark}`,
      `numgen random mod ${choices.length} vmap { ${choices.join(', ')} }`,
    ),
    ...(nodePort === undefined ? [] : [nftBlock(nftChain('external', name), mark, `goto ${service}`)]),
  ]
}

const nftHelperChains = [
  nftBlock('mark-for-masquerade', 'mark set mark or 0x4000'),
  nftBlock('masquerading', 'mark and 0x4000 == 0 return', 'mark set mark xor 0x4000', 'masquerade fully-random'),
  nftBlock('firewall-check', 'ip daddr . meta l4proto . th dport vmap @firewall-ips'),
  nftBlock('service-endpoints-check', 'ip daddr . meta l4proto . th dport vmap @no-endpoint-services'),
  nftBlock('nodeport-endpoints-check', 'ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports'),
  nftBlock('cluster-ips-check', 'ip daddr @cluster-ips reject', 'ip daddr { 10.96.0.0/16 } drop'),
]

const nftNew = (...chains: readonly string[]) => chains.map((chain) => `ct state new jump ${chain}`)
const nftHooks = [
  nftBlock(
    'services',
    'ip daddr . meta l4proto . th dport vmap @service-ips',
    'ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports',
  ),
  nftBlock('filter-prerouting-pre-dnat', 'type filter hook prerouting priority -110;', ...nftNew('firewall-check')),
  nftBlock('filter-output-pre-dnat', 'type filter hook output priority -110;', ...nftNew('firewall-check')),
  nftBlock(
    'filter-input',
    'type filter hook input priority 0;',
    ...nftNew('nodeport-endpoints-check', 'service-endpoints-check'),
  ),
  nftBlock(
    'filter-forward',
    'type filter hook forward priority 0;',
    ...nftNew('service-endpoints-check', 'cluster-ips-check'),
  ),
  nftBlock(
    'filter-output',
    'type filter hook output priority 0;',
    ...nftNew('service-endpoints-check', 'cluster-ips-check'),
  ),
  nftBlock('nat-prerouting', 'type nat hook prerouting priority -100;', 'jump services'),
  nftBlock('nat-output', 'type nat hook output priority -100;', 'jump services'),
  nftBlock('nat-postrouting', 'type nat hook postrouting priority 100;', 'jump masquerading'),
]

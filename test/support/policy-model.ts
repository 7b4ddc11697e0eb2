// SPDX-License-Identifier: Apache-2.0
// NetworkPolicy, ClusterNetworkPolicy and Cilium's policies read aloud: a deliberately naive evaluator of API objects as
// they are written, from the documentation of networking.k8s.io/v1, of policy.networking.k8s.io/v1alpha2, of labels, and
// of Cilium (docs.cilium.io, security/policy) alone. It shares nothing with src, to hold the compiler against.

export interface ApiObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Labels
    readonly annotations?: Labels
    readonly creationTimestamp?: string
  }
  readonly spec?: Json
  readonly specs?: Json
  /** Of an EndpointSlice. */
  readonly addressType?: string
  readonly endpoints?: Json
  readonly status?: Json
}

/** What CONTRACT.md says of a query line. */
export interface ModelQuery {
  readonly from: ModelPlace
  readonly to: ModelPlace
  readonly protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP'
  readonly port?: number
  readonly type?: number
  readonly family?: 'IPv4' | 'IPv6'
}
export type ModelPlace = { readonly pod: string } | { readonly ip: string } | { readonly node: string }

/** What CONTRACT.md says of an answer line. */
export interface ModelVerdict {
  readonly verdict: 'allow' | 'deny'
  readonly egress: 'allow' | 'deny'
  readonly ingress: 'allow' | 'deny'
  readonly egressRule: string | null
  readonly ingressRule: string | null
  readonly rule: string | null
  readonly audit?: string | null
}

type Labels = Readonly<Record<string, string>>
// biome-ignore lint/suspicious/noExplicitAny: API JSON as it comes
type Json = any
type Direction = 'ingress' | 'egress'

/** What docs/policy.md says of the configuration. */
export interface ModelSettings {
  readonly auditAll: boolean
  readonly defaultDeny: readonly string[]
  readonly defaultAllow: readonly string[]
}

/** null: the two ends have no address of one family, or not of the one asked for. */
export function modelVerdict(
  objects: readonly ApiObject[],
  query: ModelQuery,
  settings: ModelSettings = { auditAll: false, defaultDeny: [], defaultAllow: [] },
): ModelVerdict | null {
  const ends = addressesOfEnds(objects, query)
  if (ends === null) return null
  const [from, to] = ends
  const sender = ownerOf(objects, from)
  const receiver = ownerOf(objects, to)
  const itself = from === to // "pods cannot currently block localhost access"
  const probed = receiver !== undefined && nodeAddresses(objects, receiver.spec?.nodeName).includes(from)
  const egress = itself || !sender ? FREE : auditedDirectionOf(objects, 'egress', sender, to, query, settings)
  const ingress =
    itself || probed || !receiver ? FREE : auditedDirectionOf(objects, 'ingress', receiver, from, query, settings)
  const auditing = egress.allowed && ingress.allowed ? [egress, ingress].find(({ audited }) => audited) : undefined
  const word = (allowed: boolean) => (allowed ? 'allow' : 'deny')
  return {
    verdict: word(egress.allowed && ingress.allowed),
    egress: word(egress.allowed),
    ingress: word(ingress.allowed),
    egressRule: egress.rule,
    ingressRule: ingress.rule,
    rule: !egress.allowed ? egress.rule : !ingress.allowed ? ingress.rule : (ingress.rule ?? egress.rule),
    ...(auditing && { audit: auditing.rule }),
  }
}

const FREE: Judgement = { allowed: true, rule: null }
const DENIED_BY_DEFAULT: Judgement = { allowed: false, rule: 'default deny' }

function deniesByDefault({ defaultDeny, defaultAllow }: ModelSettings, namespace: string): boolean {
  return defaultDeny.includes(namespace) || (defaultDeny.includes('*') && !defaultAllow.includes(namespace))
}

interface Judgement {
  readonly allowed: boolean
  readonly rule: string | null
  readonly audited?: true
  /** A rule before it may pass on. */
  readonly mayPass?: true
}

/** docs/policy.md: "An audited policy changes no verdict. What passes, and would not if every policy were enforced, is
 *  allowed and named with what would deny it; where no enforced policy has a say, the audited one that admits is named." */
function auditedDirectionOf(
  objects: readonly ApiObject[],
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
  settings: ModelSettings,
): Judgement {
  const isEnforced = ({ kind, metadata }: ApiObject) =>
    !kind.endsWith('NetworkPolicy') || (!settings.auditAll && metadata.annotations?.['heddle.network/audit'] !== 'true')
  const denies = deniesByDefault(settings, namespaceOf(pod))
  const otherwise = denies && !settings.auditAll ? DENIED_BY_DEFAULT : FREE
  const enforced = directionOf(objects.filter(isEnforced), direction, pod, peer, query, otherwise)
  if (!enforced.allowed) return enforced
  const whole = directionOf(objects, direction, pod, peer, query, denies ? DENIED_BY_DEFAULT : FREE)
  if (!whole.allowed) return { allowed: true, audited: true, rule: whole.rule }
  return enforced.rule === null ? whole : enforced
}

/** "Policy tiers are evaluated in the following order: Admin, NetworkPolicy, Baseline. v1.NetworkPolicy always makes a final
 *  decision for selected pods. If a given connection wasn't allowed or denied by any of the tiers, the default kubernetes
 *  policy is applied, which says that all pods can communicate with each other": `otherwise`. */
function directionOf(
  objects: readonly ApiObject[],
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
  otherwise: Judgement,
): Judgement {
  const baseline = () => orPassed(tierDecision(objects, 'Baseline', direction, pod, peer, query), () => otherwise)
  const below = () => policyDecision(objects, direction, pod, peer, query) ?? baseline()
  return orPassed(tierDecision(objects, 'Admin', direction, pod, peer, query), below)
}

/** Where a rule before the one that decided may have passed on, what is below decides if it denies. */
function orPassed(decided: Judgement | null, below: () => Judgement): Judgement {
  if (decided === null) return below()
  const { mayPass, ...judgement } = decided
  if (!mayPass || !judgement.allowed) return judgement
  const passed = below()
  return passed.allowed ? judgement : passed
}

/** "Policies with lower priority values have higher precedence; a rule at the top takes the highest precedence." Of equal
 *  priority any may be taken: here the first by name. null: passed, or no rule matches. */
function tierDecision(
  objects: readonly ApiObject[],
  tier: 'Admin' | 'Baseline',
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): Judgement | null {
  const policies = objects
    .filter(({ kind, spec }) => kind === 'ClusterNetworkPolicy' && spec.tier === tier)
    .filter(({ spec }) => isIn(objects, spec.subject, pod))
    .sort((a, b) => a.spec.priority - b.spec.priority || (a.metadata.name < b.metadata.name ? -1 : 1))
  const rules = policies.flatMap(({ metadata, spec }) =>
    ((spec[direction] ?? []) as Json[]).map((rule, index) => ({
      action: clusterActionOf(objects, direction, rule, pod, peer, query),
      name: `${tier}:${metadata.name} ${direction}[${index}]${rule.name ? ` ${JSON.stringify(rule.name)}` : ''}`,
    })),
  )
  const first = rules.find(({ action }) => action !== null && action !== 'perhaps Pass')
  if (first === undefined || first.action === 'Pass') return null
  const mayPass = rules.slice(0, rules.indexOf(first)).some(({ action }) => action === 'perhaps Pass')
  return { allowed: first.action === 'Accept', rule: first.name, ...(mayPass && { mayPass: true }) }
}

/** What the rule says of this packet; null: nothing. "If an implementation sees no fields are set [in a peer], it should fail
 *  closed: for Accept rules, treat the rule as matching no traffic; for Deny and Pass rules as a 'Deny all' rule." */
function clusterActionOf(
  objects: readonly ApiObject[],
  direction: Direction,
  rule: Json,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): string | null {
  const isUnknown = placeOf(objects, pod, peer) === 'range'
  const known = ['namespaces', 'pods', ...(direction === 'egress' ? ['nodes', 'networks'] : [])]
  const peers = rule[direction === 'ingress' ? 'from' : 'to'] as Json[]
  if (peers.some((each) => !known.some((kind) => each[kind] != null))) return rule.action === 'Accept' ? null : 'Deny'
  const destination = direction === 'ingress' ? pod : ownerOf(objects, peer)
  const matchesTraffic =
    rule.protocols == null || rule.protocols.some((each: Json) => matchesProtocol(each, query, destination))
  const means = peers.some((each) => isPeer(objects, each, peer))
  if (matchesTraffic && means) return rule.action
  // docs/policy.md: "An address of a pod CIDR that no known pod has may be any pod's": what may deny it does.
  if (!isUnknown || rule.action === 'Accept') return null
  const mayMatch = matchesTraffic || (direction === 'egress' && rule.protocols.some((each: Json) => mayBe(each, query)))
  const mayMean = means || peers.some((each) => each.namespaces != null || each.pods != null)
  if (!mayMatch || !mayMean) return null
  return rule.action === 'Pass' ? 'perhaps Pass' : 'Deny'
}

/** Whether an unknown pod may call the port by that name. */
function mayBe({ destinationNamedPort }: Json, query: ModelQuery): boolean {
  return destinationNamedPort != null && query.protocol !== 'ICMP'
}

function isPeer(objects: readonly ApiObject[], peer: Json, address: string): boolean {
  if (peer.networks != null) return peer.networks.some((cidr: string) => inside(address, cidr))
  if (peer.nodes != null) {
    return objects
      .filter(({ kind, metadata }) => kind === 'Node' && nodeAddresses(objects, metadata.name).includes(address))
      .some((node) => selects(peer.nodes, labelsOf(node)))
  }
  const pod = ownerOf(objects, address)
  return pod !== undefined && isIn(objects, peer, pod)
}

/** A subject, or a peer of pods: "namespaces: all pods within a set of namespaces; pods: via namespace AND pod selectors". */
function isIn(objects: readonly ApiObject[], { namespaces, pods }: Json, pod: ApiObject): boolean {
  const ofNamespace = namespaceLabels(objects, namespaceOf(pod))
  if (namespaces != null) return selects(namespaces, ofNamespace)
  return selects(pods.namespaceSelector, ofNamespace) && selects(pods.podSelector, labelsOf(pod))
}

/** "DestinationNamedPort selects a destination port on a pod based on the ContainerPort name." */
function matchesProtocol(match: Json, query: ModelQuery, destination: ApiObject | undefined): boolean {
  if (match.destinationNamedPort != null) {
    return matchesPort({ protocol: query.protocol, port: match.destinationNamedPort }, query, destination)
  }
  const of = match[query.protocol.toLowerCase()]?.destinationPort
  if (of == null) return false
  const { start, end } = of.range ?? { start: of.number, end: of.number }
  return query.port! >= start && query.port! <= end
}

/** A rule that matches this packet: how broadly, and what it says. */
interface Matching {
  readonly name: string
  readonly breadth: number
  readonly denies: boolean
}

/** What policies of one kind say of this packet. */
interface Said {
  readonly isolating: readonly string[]
  readonly rules: readonly Matching[]
}

/** "Deny policies take precedence over allow policies, regardless of whether they are a Cilium Network Policy, a Clusterwide
 *  Cilium Network Policy or even a Kubernetes Network Policy." "If there is an intersection between two or more rules, then
 *  traffic matching the union of those rules will be allowed." */
function policyDecision(
  objects: readonly ApiObject[],
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): Judgement | null {
  const kubernetes = networkPolicies(objects, direction, pod, peer, query)
  const cilium = ciliumPolicies(objects, direction, pod, peer, query)
  const matching = [...kubernetes.rules, ...cilium.rules].filter(({ breadth }) => breadth > 0)
  // Of several rules that say the same, the broadest is named; then the first by policy and place.
  const broadest = (denies: boolean) =>
    matching.filter((rule) => rule.denies === denies).sort((a, b) => b.breadth - a.breadth)[0]
  const [denial, admission] = [broadest(true), broadest(false)]
  if (denial !== undefined) return { allowed: false, rule: denial.name }
  if (admission !== undefined) return { allowed: true, rule: admission.name }
  const isolating = [...kubernetes.isolating, ...cilium.isolating]
  return isolating.length === 0 ? null : { allowed: false, rule: isolating.join(', ') }
}

/** "A pod is isolated for egress if there is any NetworkPolicy that both selects the pod and has Egress in its policyTypes;
 *  the effects of those lists combine additively." */
function networkPolicies(
  objects: readonly ApiObject[],
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): Said {
  const isolating = objects
    .filter(({ kind }) => kind === 'NetworkPolicy')
    .filter(
      (policy) => namespaceOf(policy) === namespaceOf(pod) && selects(policy.spec.podSelector ?? {}, labelsOf(pod)),
    )
    .filter((policy) => typesOf(policy).includes(direction))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  const rules = isolating.flatMap((policy) =>
    ((policy.spec[direction] ?? []) as Json[]).map((rule, index) => ({
      name: `${namespaceOf(policy)}/${policy.metadata.name} ${direction}[${index}]`,
      breadth: breadthOf(objects, direction, policy, rule, pod, peer, query),
      denies: false,
    })),
  )
  return { isolating: isolating.map((each) => `${namespaceOf(each)}/${each.metadata.name}`), rules }
}

/** "If this field is not specified, it will default based on the existence of ingress or egress rules; policies that contain
 *  an egress section are assumed to affect egress, and all policies (whether or not they contain an ingress section) are
 *  assumed to affect ingress." */
function typesOf(policy: ApiObject): readonly Direction[] {
  const { policyTypes, egress } = policy.spec
  if (policyTypes?.length > 0) return policyTypes.map((type: string) => type.toLowerCase())
  return egress?.length > 0 ? ['ingress', 'egress'] : ['ingress']
}

/** How broadly the rule admits the peer: 0 not at all, 1 by selector or block, 2 as every pod, 3 as anybody. */
function breadthOf(
  objects: readonly ApiObject[],
  direction: Direction,
  policy: ApiObject,
  rule: Json,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): number {
  const peersField = direction === 'ingress' ? 'from' : 'to'
  if (hasMore(rule, [peersField, 'ports'])) return 0
  const [peers, ports] = [(rule[peersField] ?? []) as Json[], (rule.ports ?? []) as Json[]]
  if (peers.some(isStrange) || ports.some((port) => hasMore(port, ['protocol', 'port', 'endPort']))) return 0
  const destination = direction === 'ingress' ? pod : ownerOf(objects, peer)
  // "If this field is empty or missing, this rule matches all ports"; of a port's name the destination pod decides.
  if (ports.length > 0 && !ports.some((port) => matchesPort(port, query, destination))) return 0
  if (peers.length === 0) return 3
  return Math.max(...peers.map((each) => peerBreadth(objects, policy, each, peer)))
}

function isStrange(peer: Json): boolean {
  const selectors = [peer.podSelector, peer.namespaceSelector].filter((selector) => selector != null)
  return (
    hasMore(peer, ['podSelector', 'namespaceSelector', 'ipBlock']) ||
    (peer.ipBlock != null && hasMore(peer.ipBlock, ['cidr', 'except'])) ||
    selectors.some((selector) => hasMore(selector, ['matchLabels', 'matchExpressions'])) ||
    selectors
      .flatMap((selector) => selector.matchExpressions ?? [])
      .some((each: Json) => hasMore(each, ['key', 'operator', 'values']))
  )
}

function hasMore(object: Json, known: readonly string[]): boolean {
  return Object.keys(object).some((key) => !known.includes(key) && object[key] != null)
}

function peerBreadth(objects: readonly ApiObject[], policy: ApiObject, peer: Json, address: string): number {
  if (peer.ipBlock != null) {
    const { cidr, except } = peer.ipBlock
    return inside(address, cidr) && !(except ?? []).some((each: string) => inside(address, each)) ? 1 : 0
  }
  const pod = ownerOf(objects, address)
  if (pod === undefined) return 0
  const { podSelector, namespaceSelector } = peer
  if (podSelector != null && !selects(podSelector, labelsOf(pod))) return 0
  if (namespaceSelector == null) return namespaceOf(pod) === namespaceOf(policy) ? 1 : 0
  if (!selects(namespaceSelector, namespaceLabels(objects, namespaceOf(pod)))) return 0
  return isBlank(namespaceSelector) && (podSelector == null || isBlank(podSelector)) ? 2 : 1
}

function matchesPort(port: Json, query: ModelQuery, destination: ApiObject | undefined): boolean {
  const protocol = port.protocol ?? 'TCP'
  if (protocol !== query.protocol) return false
  if (port.port == null) return true
  if (typeof port.port === 'number') return query.port! >= port.port && query.port! <= (port.endPort ?? port.port)
  const sidecars = (destination?.spec?.initContainers ?? []).filter((each: Json) => each.restartPolicy === 'Always')
  return [...sidecars, ...(destination?.spec?.containers ?? [])]
    .flatMap((container: Json) => container.ports ?? [])
    .some((each: Json) => {
      const isNamed = each.name === port.port && (each.protocol ?? 'TCP') === protocol
      return isNamed && each.containerPort === query.port
    })
}

// -- Cilium --------------------------------------------------------------------------------------------------------

/** "Spec: a policy rule. Specs: a list of policy rules." "If any rule selects an endpoint and the rule has an ingress section,
 *  the endpoint goes into default deny at ingress"; enableDefaultDeny: "if not specified, the default is true for each traffic
 *  direction that has rules, and false otherwise; if multiple policies apply to an endpoint, that endpoint's default deny will
 *  be enabled if any policy requests it". */
function ciliumPolicies(
  objects: readonly ApiObject[],
  direction: Direction,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
): Said {
  const selecting = objects
    .filter(({ kind }) => kind === 'CiliumNetworkPolicy' || kind === 'CiliumClusterwideNetworkPolicy')
    .flatMap((policy) => {
      const home = policy.kind === 'CiliumNetworkPolicy' ? namespaceOf(policy) : null
      const name = home === null ? policy.metadata.name : `${home}/${policy.metadata.name}`
      const specs = [
        ...(policy.spec == null ? [] : [{ spec: policy.spec, place: '' }]),
        ...((policy.specs ?? []) as Json[]).map((spec, index) => ({ spec, place: `specs[${index}].` })),
      ]
      return specs.map((each) => ({ ...each, home, name }))
    })
    // "The endpointSelector always applies to pods in the namespace associated with the CiliumNetworkPolicy."
    .filter(({ home }) => home === null || home === namespaceOf(pod))
    .filter(({ spec, home }) => isEndpoint(objects, spec.endpointSelector, home, pod))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  const lists = [direction, `${direction}Deny`]
  const isolating = selecting.filter(({ spec }) => {
    const hasRules = lists.some((key) => (spec[key] ?? []).length > 0)
    return spec.enableDefaultDeny?.[direction] ?? hasRules
  })
  const rules = selecting.flatMap(({ spec, place, home, name }) =>
    lists.flatMap((key) =>
      ((spec[key] ?? []) as Json[]).map((rule, index) => ({
        name: `Cilium:${name} ${place}${key}[${index}]`,
        breadth: ciliumBreadth(objects, direction, rule, home, pod, peer, query, key.endsWith('Deny')),
        denies: key.endsWith('Deny'),
      })),
    ),
  )
  return { isolating: [...new Set(isolating.map(({ name }) => `Cilium:${name}`))], rules }
}

/** "All members are optional; if multiple members are set, all of them need to match." The examples use a rule without any
 *  member to deny by default: it admits nobody. "L4 policy can be specified independently": to any peer then. */
function ciliumBreadth(
  objects: readonly ApiObject[],
  direction: Direction,
  rule: Json,
  home: string | null,
  pod: ApiObject,
  peer: string,
  query: ModelQuery,
  denies: boolean,
): number {
  const of = (name: string): Json[] | undefined =>
    rule[`${direction === 'ingress' ? 'from' : 'to'}${name}`] ?? undefined
  const [toPorts, icmps] = [(rule.toPorts ?? []) as Json[], (rule.icmps ?? []) as Json[]]
  const destination = direction === 'ingress' ? pod : ownerOf(objects, peer)
  const asksPorts = toPorts.length + icmps.length > 0
  const where = placeOf(objects, pod, peer)
  const isDeniedUnknown = denies && where === 'range'
  const mayBeNamed = isDeniedUnknown && direction === 'egress'
  const isPort =
    toPorts.some(({ ports }) => ports.some((port: Json) => isCiliumPort(port, query, destination, mayBeNamed))) ||
    icmps.some(({ fields }) => fields.some((each: Json) => isIcmp(each, query, peer)))
  if (asksPorts && !isPort) return 0
  const peers = [
    ...(of('Endpoints') ?? []).map((each) => {
      const special = reservedOf(each)
      if (special !== undefined) return entityBreadth(objects, special, peer, where)
      return isDeniedUnknown ? 1 : endpointBreadth(objects, each, home, peer, where)
    }),
    ...(of('Entities') ?? []).map((each: unknown) => entityBreadth(objects, String(each), peer, where)),
    // "By default, CIDR-based selectors do not match in-cluster entities (pods or nodes)."
    ...(of('CIDR') ?? []).map((each: unknown) => (where === 'world' && insideCidr(peer, String(each)) ? 1 : 0)),
    ...(of('CIDRSet') ?? []).map(({ cidr, except }) => {
      const isExcluded = (except ?? []).some((each: string) => inside(peer, each))
      return where === 'world' && inside(peer, cidr) && !isExcluded ? 1 : 0
    }),
  ]
  if (peers.length === 0) return asksPorts ? 3 : 0
  return Math.max(...peers)
}

type Where = 'host' | 'remote-node' | 'pod' | 'range' | 'world'

/** "host: the local host, with all containers running in host networking mode on it; remote-node: any node other than the
 *  local host; world: all endpoints outside of the cluster." An address of a node's pod CIDR that no pod has is in the
 *  cluster, and nobody's. */
function placeOf(objects: readonly ApiObject[], pod: ApiObject, address: string): Where {
  if (nodeAddresses(objects, pod.spec?.nodeName).includes(address)) return 'host'
  const nodes = objects.filter(({ kind }) => kind === 'Node')
  if (nodes.some(({ metadata }) => nodeAddresses(objects, metadata.name).includes(address))) return 'remote-node'
  if (ownerOf(objects, address) !== undefined) return 'pod'
  const ranges = nodes.flatMap(({ spec }) => (spec?.podCIDRs ?? []) as string[])
  return ranges.some((cidr) => inside(address, cidr)) ? 'range' : 'world'
}

/** "Special identities: reserved:host, reserved:world ..." have no label but that one, and no namespace. */
function reservedOf(selector: Json): string | undefined {
  const key = Object.keys(selector.matchLabels ?? {}).find((each) => each.startsWith('reserved:'))
  return key?.slice('reserved:'.length)
}

/** "cluster: all network endpoints inside of the local cluster, as well as the host, remote-node"; "kube-apiserver: within the
 *  cluster and outside of the cluster"; "all: all known clusters as well as world"; "health: each node managed by Cilium hosts a health endpoint", and
 *  no other. */
function entityBreadth(objects: readonly ApiObject[], entity: string, address: string, where: Where): number {
  if (entity === 'all') return 3
  if (entity === 'kube-apiserver') return servers(objects).includes(address) ? 1 : 0
  return entity === where || (entity === 'cluster' && where !== 'world') ? 2 : 0
}

function servers(objects: readonly ApiObject[]): readonly string[] {
  return objects
    .filter(({ kind, metadata }) => kind === 'EndpointSlice' && metadata.namespace === 'default')
    .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === 'kubernetes')
    .flatMap(({ endpoints }) => endpoints.flatMap((each: Json) => each.addresses))
}

function endpointBreadth(
  objects: readonly ApiObject[],
  selector: Json,
  home: string | null,
  address: string,
  where: Where,
): number {
  const pod = ownerOf(objects, address)
  if (where !== 'pod' || pod === undefined || !isEndpoint(objects, selector, home, pod)) return 0
  return home === null && isBlank(selector) ? 2 : 1
}

/** Of labels with their namespace's beside them. "If omitted, we limit the scope to the namespace the policy lives in." A
 *  source is written before a colon. */
function isEndpoint(objects: readonly ApiObject[], selector: Json, home: string | null, pod: ApiObject): boolean {
  const bare = (key: string) => key.slice(key.indexOf(':') + 1)
  const ofNamespace = Object.entries(namespaceLabels(objects, namespaceOf(pod)))
  const labels = {
    ...labelsOf(pod),
    ...Object.fromEntries(ofNamespace.map(([key, value]) => [`io.cilium.k8s.namespace.labels.${key}`, value])),
    'io.kubernetes.pod.namespace': namespaceOf(pod),
  }
  const terms = [
    ...Object.entries(selector.matchLabels ?? {}).map(([key, value]) => ({ key, operator: 'In', values: [value] })),
    ...((selector.matchExpressions ?? []) as Json[]),
  ].map((term) => ({ ...term, key: bare(term.key) }))
  const saysWhere = terms.some(
    ({ key }) => key.startsWith('io.kubernetes.pod.namespace') || /^io.cilium.k8s.name/.test(key),
  )
  if (home !== null && !saysWhere && namespaceOf(pod) !== home) return false
  return selects({ matchExpressions: terms }, labels)
}

/** "If the protocol is omitted, any protocol with ports matches"; "endPort is ignored when port is a name"; 0 is any port. */
function isCiliumPort(port: Json, query: ModelQuery, destination: ApiObject | undefined, mayBeNamed: boolean): boolean {
  if (query.protocol === 'ICMP') return false
  const protocol = ['', 'ANY', undefined, null].includes(port.protocol) ? query.protocol : port.protocol
  if (protocol !== query.protocol) return false
  if (!/^\d+$/.test(port.port))
    return mayBeNamed || matchesPort({ protocol, port: port.port.toLowerCase() }, query, destination)
  const first = Number(port.port)
  return first === 0 || (query.port! >= first && query.port! <= (port.endPort || first))
}

/** "Family: IPv4 is set as default. Type: an 8bit code, or its CamelCase name." */
function isIcmp({ family, type }: Json, query: ModelQuery, peer: string): boolean {
  const of = family ?? 'IPv4'
  const named: Json = { IPv4: { EchoRequest: 8, Timestamp: 13 }, IPv6: { EchoRequest: 128, EchoReply: 129 } }
  const number = named[of][type] ?? Number(type)
  return query.protocol === 'ICMP' && familyOf(peer) === of && query.type === number
}

/** A prefix, or one address. */
function insideCidr(address: string, cidr: string): boolean {
  return cidr.includes('/') ? inside(address, cidr) : bits(address) === bits(cidr)
}

// -- Who is where --------------------------------------------------------------------------------------------------

function addressesOfEnds(objects: readonly ApiObject[], query: ModelQuery): readonly [string, string] | null {
  const [from, to] = [addressesOf(objects, query.from), addressesOf(objects, query.to)]
  for (const source of from) {
    if (query.family !== undefined && familyOf(source) !== query.family) continue
    const destination = to.find((address) => familyOf(address) === familyOf(source))
    if (destination !== undefined) return [source, destination]
  }
  return null
}

function addressesOf(objects: readonly ApiObject[], place: ModelPlace): readonly string[] {
  if ('ip' in place) return [place.ip]
  if ('node' in place) return nodeAddresses(objects, place.node)
  const pod = objects.find((each) => each.kind === 'Pod' && `${namespaceOf(each)}/${each.metadata.name}` === place.pod)!
  const own = podIPs(pod)
  return own.length === 0 && pod.spec?.hostNetwork === true ? nodeAddresses(objects, pod.spec.nodeName) : own
}

function nodeAddresses(objects: readonly ApiObject[], name: string | undefined): readonly string[] {
  const node = objects.find((each) => each.kind === 'Node' && each.metadata.name === name)
  return ((node?.status?.addresses ?? []) as Json[])
    .filter(({ type }) => type === 'InternalIP')
    .map(({ address }) => address)
}

/** Pods that are over and pods of the host's network have no address of their own; of two that claim one the younger. */
function ownerOf(objects: readonly ApiObject[], address: string): ApiObject | undefined {
  const age = (pod: ApiObject) => Date.parse(pod.metadata.creationTimestamp ?? '1970-01-01T00:00:00Z')
  const name = (pod: ApiObject) => `${namespaceOf(pod)}/${pod.metadata.name}`
  return objects
    .filter(({ kind }) => kind === 'Pod')
    .filter((pod) => pod.spec?.hostNetwork !== true && !['Succeeded', 'Failed'].includes(pod.status?.phase))
    .filter((pod) => podIPs(pod).includes(address))
    .sort((a, b) => age(b) - age(a) || (name(a) > name(b) ? -1 : 1))[0]
}

function podIPs(pod: ApiObject): readonly string[] {
  return ((pod.status?.podIPs ?? []) as Json[]).map(({ ip }) => ip)
}

function familyOf(address: string): 'IPv4' | 'IPv6' {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}

function namespaceOf(object: ApiObject): string {
  return object.metadata.namespace ?? 'default'
}

function labelsOf(object: ApiObject): Labels {
  return object.metadata.labels ?? {}
}

/** "The control plane sets an immutable label kubernetes.io/metadata.name on all namespaces"; a namespace that nobody
 *  wrote down has that one only. */
function namespaceLabels(objects: readonly ApiObject[], name: string): Labels {
  const namespace = objects.find((each) => each.kind === 'Namespace' && each.metadata.name === name)
  return { ...namespace?.metadata.labels, 'kubernetes.io/metadata.name': name }
}

// -- Labels and addresses ------------------------------------------------------------------------------------------

/** "The requirements are ANDed"; "NotIn and DoesNotExist also match resources without the key". */
function selects(selector: Json, labels: Labels): boolean {
  const has = (key: string) => Object.keys(labels).includes(key)
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => has(key) && labels[key] === value) &&
    ((selector.matchExpressions ?? []) as Json[]).every(({ key, operator, values }) => {
      if (operator === 'Exists') return has(key)
      if (operator === 'DoesNotExist') return !has(key)
      if (operator === 'In') return has(key) && values.includes(labels[key])
      return !has(key) || !values.includes(labels[key])
    })
  )
}

/** "An empty label selector matches all objects." */
function isBlank(selector: Json): boolean {
  return Object.keys(selector.matchLabels ?? {}).length + (selector.matchExpressions ?? []).length === 0
}

/** Bit strings, compared character by character. */
function inside(address: string, cidr: string): boolean {
  const [network, length] = cidr.split('/') as [string, string]
  if (familyOf(network) !== familyOf(address)) return false
  return bits(network).slice(0, Number(length)) === bits(address).slice(0, Number(length))
}

export function bits(address: string): string {
  if (!address.includes(':'))
    return address
      .split('.')
      .map((byte) => Number(byte).toString(2).padStart(8, '0'))
      .join('')
  const [head, tail] = address.split('::') as [string, string | undefined]
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const middle = tail === undefined ? [] : Array<string>(8 - left.length - right.length).fill('0')
  return [...left, ...middle, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('')
}

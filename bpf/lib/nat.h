/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Translation of addresses and ports, in `translations`.
 *
 * One rule finds conntrack's tuple in both directions: the packet's source, and the
 * destination that the translation gives it. So nat_lookup replaces the tuple's
 * destination at once, and lib/rewrite.h changes the headers last.
 *
 *   nat_lookup   a translation that exists, or a frontend's backend, chosen but not
 *                entered: whatever asks, but for what the network sends to this node
 *                in a TCP connection that it has not opened here. What the network asks
 *                is a client's from outside, but for pods elsewhere that ask for what
 *                no client outside may. The SYN after a
 *                connection that has ended is a frontend's. An ICMP error takes the
 *                translation of the packet that it quotes, and is PACKET_RELATED
 *                where conntrack has that packet's flow. DROP_SOURCE_RANGE,
 *                DROP_NO_LOCAL_BACKEND, DROP_NO_BACKEND, which lib/refuse.h answers.
 *   nat_source   what a new translation does to the source, once the route is
 *                known: towards the world it becomes the node's, but for answers to
 *                what came in untranslated, as does what the network sends to a
 *                backend elsewhere; a pod that is its own backend sees the Service as
 *                its client.
 *                Where that answers by itself (lib/dsr.h) the client stays the source.
 *   nat_enter    enters a new translation, once policy has allowed the flow: the
 *                reverse first, whose NOEXIST decides who owns a port.
 *                DROP_TRANSLATIONS_FULL (and lib/openings.h gives none up), DROP_NAT_PORTS (no
 *                port is free, or another packet of this flow has made another choice
 *                meanwhile). Of PACKET_DIRECT it removes the one whose answers would still be
 *                the Service's, but for a client outside the cluster only once that has ended.
 *
 * The source port stays where it is free and within the node's masquerading range;
 * otherwise random ones of that range are tried, NAT_PORT_TRIES in all, and after the first
 * NAT_PORT_FREE_TRIES also those of half-open connections. A host's own
 * flow (PACKET_HOST) keeps its port wherever it is free, as does one whose source
 * address stays. Towards a pod or another node no port is taken that a socket of this
 * node speaks from. Protocols other than TCP, UDP, SCTP and ICMP echo keep what they have. */
#pragma once
#include "conntrack.h"
#include "icmp.h"
#include "openings.h"
#include "service.h"
#include "takeover.h"
#include "tuple.h"

#define NAT_PORT_TRIES 32
#define NAT_PORT_FREE_TRIES 16
#define EEXIST 17

/* Who asks: the stack for a pod is given no Service. */
enum nat_asker { NAT_STACK = 0, NAT_POD = 1, NAT_HOST = 2, NAT_NETWORK = 3 };

enum nat_entered { NAT_ENTERED = 0, NAT_TAKEN = 1, NAT_RACED = 2, NAT_FULL = 3 };

static __always_inline void translation_touch(struct translation *t, const struct packet *p)
{
	__u64 now = clock_ns();
	__u32 flags = t->flags;

	if (flags & TRANSLATION_REVERSE) flags |= TRANSLATION_REPLIED;
	if (p->tcp_flags & (TCP_FIN | TCP_RST)) flags |= TRANSLATION_CLOSING;
	if (packet_is_syn(p)) flags &= ~TRANSLATION_CLOSING;
	if (p->tcp_flags & TCP_ACK) flags &= ~TRANSLATION_OPENING;
	if (flags != t->flags) t->flags = flags;
	if (now - t->seen_ns >= SECOND_NS) t->seen_ns = now;
}

/* The connection after one that has ended, on the translation of that: FIN or RST may have been seen
 * on its way back. */
static __always_inline void translation_reopen(const struct translation *t)
{
	struct translation *back;
	ALIGNED struct tuple answer;

	tuple_reverse(&answer, &t->to);
	back = bpf_map_lookup_elem(&translations, &answer);
	if (back && back->flags & TRANSLATION_CLOSING) back->flags &= ~TRANSLATION_CLOSING;
}

/* Takes the translation that is in packet.to. */
static __always_inline void nat_take(struct packet *p)
{
	address_copy(&p->tuple.destination, &p->to.destination);
	p->tuple.destination_port = p->to.destination_port;
	p->flags |= PACKET_TRANSLATED;
}

/* A connection that has ended (either entry has seen its FIN or RST), and the SYN of
 * the next one from the same port: it gets a backend that is listed now. */
static __always_inline bool nat_forget(const struct packet *p, const struct tuple *key,
				       const struct translation *t)
{
	const struct translation *other;
	ALIGNED struct tuple answer;

	if (!packet_is_syn(p) || !t->service || t->flags & TRANSLATION_REVERSE) return false;
	tuple_reverse(&answer, &t->to);
	other = bpf_map_lookup_elem(&translations, &answer);
	if (!(t->flags & TRANSLATION_CLOSING) && !(other && other->flags & TRANSLATION_CLOSING)) return false;
	bpf_map_delete_elem(&translations, &answer);
	bpf_map_delete_elem(&translations, key);
	return true;
}

static __always_inline bool nat_known(struct packet *p, enum nat_asker asker)
{
	ALIGNED struct tuple key;
	struct translation *t;

	tuple_copy(&key, &p->tuple);
	t = translation_find(&key);
	if (!t || (asker != NAT_STACK && nat_forget(p, &key, t))) return false;
	translation_touch(t, p);
	if (packet_is_syn(p) && !(t->flags & TRANSLATION_REVERSE)) translation_reopen(t);
	tuple_copy(&p->to, &t->to);
	p->service = t->service;
	if (t->flags & TRANSLATION_DSR && packet_is_syn(p)) p->flags |= PACKET_DSR;
	nat_take(p);
	return true;
}

/* The packet that an error quotes went against it, so its answer's tuple is the error's.
 * Routers on the way report what was for others; a pod is no router, and must not reach
 * by an error whomever it may not send to. */
static __always_inline enum verdict nat_lookup_error(struct __sk_buff *skb, struct packet *p, bool from_pod)
{
	const struct translation *t;
	ALIGNED struct tuple answer;

	if (!icmp_parse_quoted(skb, p) || !address_equal(&p->to.source, &p->tuple.destination)) return NEXT;
	if (from_pod && !address_equal(&p->to.destination, &p->tuple.source)) return NEXT;
	tuple_reverse(&answer, &p->to);
	t = translation_find(&answer);
	if (t) {
		tuple_copy(&p->to, &t->to);
		address_copy(&answer.destination, &t->to.destination);
		answer.destination_port = t->to.destination_port;
		address_copy(&p->tuple.destination, &t->to.destination);
		p->flags |= PACKET_TRANSLATED;
	}
	if (conntrack_has(&answer)) p->flags |= PACKET_RELATED;
	return NEXT;
}

/* A client from beyond this node, where the frontend is for such. At an address of the
 * node that includes pods of others (Kubernetes e2e, service.go): what they ask elsewhere
 * their own node has translated. */
static __always_inline bool nat_is_from_outside(const struct packet *p, const struct frontend *frontend,
						enum nat_asker asker)
{
	const struct route *route;

	if (asker != NAT_NETWORK) return false;
	if (frontend->flags & FRONTEND_EXTERNAL) return true;
	route = route_of(&p->tuple.source);
	return !route || route->kind != ROUTE_PODS;
}

static __always_inline enum drop_reason nat_no_backend(const struct frontend *frontend, bool outside)
{
	__u32 local = outside ? FRONTEND_EXTERNAL_DROPS : FRONTEND_INTERNAL_DROPS;

	return frontend->flags & local ? DROP_NO_LOCAL_BACKEND : DROP_NO_BACKEND;
}

static __always_inline const struct frontend *nat_frontend(const struct packet *p)
{
	return service_frontend(&p->tuple.destination, p->tuple.destination_port, p->tuple.protocol);
}

static __always_inline struct backend_list nat_list(const struct frontend *frontend, bool outside)
{
	struct backend_list list = {
		.id = outside ? frontend->external_list : frontend->backend_list,
		.count = outside ? frontend->external_count : frontend->count,
	};

	return list;
}

/* A backend of the frontend that the packet asks for, if it is one. */
__noinline int nat_service(struct packet *p, enum nat_asker asker)
{
	struct affinity_key client = {};
	const struct frontend *frontend;
	const struct backend *backend;
	struct backend_list list;
	bool outside;

	if (!p) return DROP;
	for (int attempt = 0; attempt < LIST_ATTEMPTS; attempt++) {
		frontend = nat_frontend(p);
		if (!frontend) return NEXT;
		outside = nat_is_from_outside(p, frontend, asker);
		if (outside && !(frontend->flags & FRONTEND_EXTERNAL)) return NEXT;
		p->service = frontend->service;
		if (!service_admits(frontend, &p->tuple.source)) return drop(p, DROP_SOURCE_RANGE);
		list = nat_list(frontend, outside);
		address_copy(&client.address, &p->tuple.source);
		client.family = p->family;
		backend = service_choose(frontend, &list, &client, &p->tuple.source);
		if (backend || !list.count) break;
	}
	if (!backend) return drop(p, nat_no_backend(frontend, outside));
	tuple_copy(&p->to, &p->tuple);
	address_copy(&p->to.destination, &backend->address);
	p->to.destination_port = backend->port;
	p->flags |= PACKET_ENTER;
	nat_take(p);
	return NEXT;
}

static __always_inline void nat_note_asked(struct packet *p)
{
	address_copy(&p->asked, &p->tuple.destination);
	p->asked_port = p->tuple.destination_port;
}

__noinline int nat_find(struct __sk_buff *skb, struct packet *p, enum nat_asker asker)
{
	if (!p) return DROP;
	if (p->flags & PACKET_ICMP_ERROR) return nat_lookup_error(skb, p, asker == NAT_POD);
	nat_note_asked(p);
	nat_known(p, asker);
	return NEXT;
}

static __always_inline bool nat_may_ask(const struct packet *p, enum nat_asker asker)
{
	if (asker == NAT_STACK || p->flags & (PACKET_TRANSLATED | PACKET_ICMP_ERROR)) return false;
	if (asker != NAT_NETWORK || p->tuple.protocol != IPPROTO_TCP || packet_is_syn(p)) return true;
	return !self_has(&p->tuple.destination);
}

static __always_inline enum verdict nat_lookup(struct __sk_buff *skb, struct packet *p, enum nat_asker asker)
{
	enum verdict v = nat_find(skb, p, asker);

	return v == NEXT && nat_may_ask(p, asker) ? nat_service(p, asker) : v;
}

/* As nat_lookup, for what a pod sends or is sent: nothing translates the SYN-ACK to what came in
 * untranslated. */
static __always_inline enum verdict nat_lookup_of_pod(struct __sk_buff *skb, struct packet *p,
						      enum nat_asker asker)
{
	if (!conntrack_is_plain_syn_ack(p)) return nat_lookup(skb, p, asker);
	nat_note_asked(p);
	return NEXT;
}

static __always_inline const struct address *nat_node_address(const struct packet *p)
{
	return p->family == 4 ? &self()->ipv4 : &self()->ipv6;
}

static __always_inline bool nat_masquerades(const struct packet *p)
{
	if (address_is_zero(nat_node_address(p))) return false;
	return packet_returns(p) || (p->destination == TO_WORLD && self()->masquerade);
}

/* Can the backend's node send the answers itself? Not to pods and nodes, which would not take them from it,
 * nor those of its own processes, nor from an address that is the cluster's. */
__noinline int nat_may_be_dsr(struct packet *p)
{
	const struct route *route;

	if (!p || !(p->flags & PACKET_ENTER) || p->tuple.protocol != IPPROTO_TCP || !packet_is_syn(p))
		return false;
	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT) || source_is_inside(p)) return false;
	if (route_of(&p->asked)) return false;
	route = route_of(&p->tuple.destination);
	return route && route->kind == ROUTE_PODS && route->flags & ROUTE_DSR;
}

static __always_inline enum verdict nat_source(struct packet *p)
{
	bool known = (p->flags & (PACKET_TRANSLATED | PACKET_ENTER)) == PACKET_TRANSLATED;

	if (known || p->flags & PACKET_ICMP_ERROR) return NEXT;
	if (p->flags & PACKET_ENTER && address_equal(&p->tuple.source, &p->tuple.destination))
		address_copy(&p->to.source, &p->asked);
	if (!nat_masquerades(p)) return NEXT;
	if (!(p->flags & (PACKET_ENTER | PACKET_HOST)) && conntrack_is_answer(p)) return NEXT;
	if (self()->dsr & DSR_TCP && packet_returns(p) && nat_may_be_dsr(p)) {
		p->flags |= PACKET_DSR;
		return NEXT;
	}
	if (!(p->flags & PACKET_ENTER)) tuple_copy(&p->to, &p->tuple);
	address_copy(&p->to.source, nat_node_address(p));
	p->flags |= PACKET_TRANSLATED | PACKET_ENTER;
	return NEXT;
}

/* Will packets between this node and another one find the entry of this key? */
static __always_inline bool nat_is_between_nodes(const struct tuple *key)
{
	if (self_has(&key->source)) return node_of(&key->destination);
	return self_has(&key->destination) && node_of(&key->source);
}

static __always_inline void nat_note_kind(const struct tuple *from, const struct tuple *answer)
{
	__u32 zero = 0;
	struct nat_kinds *kinds = bpf_map_lookup_elem(&nat_kinds, &zero);

	if (!kinds || kinds->between_nodes) return;
	if (nat_is_between_nodes(from) || nat_is_between_nodes(answer)) kinds->between_nodes = 1;
}

/* Both entries of the translation from (source, asked) to packet.to, or none. */
__noinline int nat_insert(struct packet *p)
{
	ALIGNED struct tuple from, answer;
	struct translation t = {};
	bool is_ours;
	long error;

	if (!p) return NAT_FULL;
	tuple_copy(&from, &p->tuple);
	address_copy(&from.destination, &p->asked);
	from.destination_port = p->asked_port;
	tuple_reverse(&answer, &p->to);
	nat_note_kind(&from, &answer);

	tuple_reverse(&t.to, &from);
	t.flags = TRANSLATION_REVERSE | (p->flags & PACKET_HOST ? TRANSLATION_HOST : 0) |
		  (p->flags & PACKET_DSR ? TRANSLATION_DSR : 0);
	t.seen_ns = clock_ns();
	t.service = p->service;
	if (taking_over) translation_find(&answer);
	error = bpf_map_update_elem(&translations, &answer, &t, BPF_NOEXIST);
	is_ours = !error;
	if (error == -EEXIST) {
		const struct translation *owner = bpf_map_lookup_elem(&translations, &answer);

		if (!owner || !tuple_equal(&owner->to, &t.to)) return NAT_TAKEN;
	} else if (error) {
		return NAT_FULL;
	}

	tuple_copy(&t.to, &p->to);
	t.flags &= ~TRANSLATION_REVERSE;
	if (packet_is_syn(p)) t.flags |= TRANSLATION_OPENING;
	error = bpf_map_update_elem(&translations, &from, &t, BPF_NOEXIST);
	if (!error) {
		if (t.flags & TRANSLATION_OPENING) opening_note(&from);
		return NAT_ENTERED;
	}
	if (error == -EEXIST && !is_ours) return NAT_ENTERED; /* another CPU, with the same choice */
	if (is_ours) bpf_map_delete_elem(&translations, &answer);
	return error == -EEXIST ? NAT_RACED : NAT_FULL;
}

static __always_inline bool nat_may_choose_port(const struct packet *p)
{
	bool to_node = p->flags & PACKET_HOST && p->destination == TO_NODE;

	if (p->destination != TO_WORLD && !to_node && !(p->flags & PACKET_NETWORK)) return false;
	if (p->tuple.protocol == IPPROTO_ICMP || p->tuple.protocol == IPPROTO_ICMPV6)
		return p->icmp_type == ICMP_ECHO_REQUEST || p->icmp_type == ICMPV6_ECHO_REQUEST;
	return protocol_has_ports(p->tuple.protocol);
}

static __always_inline bool nat_may_keep_port(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->to.source_port);

	if (p->flags & PACKET_HOST || !protocol_has_ports(p->tuple.protocol)) return true;
	if (address_equal(&p->to.source, &p->tuple.source)) return true; /* not this node's port */
	return port >= self()->nat_port_min && port <= self()->nat_port_max;
}

/* Does a socket of this node have the answers? Those to the world are in `translations`. */
__noinline int nat_is_of_socket(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sock;
	__u32 size;

	if (!p || p->tuple.protocol == IPPROTO_SCTP) return false; /* nobody can ask for those */
	if (p->family == 4) {
		t.ipv4.saddr = address_ipv4(&p->to.destination);
		t.ipv4.daddr = address_ipv4(&p->to.source);
		t.ipv4.sport = p->to.destination_port;
		t.ipv4.dport = p->to.source_port;
		size = sizeof(t.ipv4);
	} else {
		COPY_ALIGNED(t.ipv6.saddr, &p->to.destination, sizeof(struct address), 4);
		COPY_ALIGNED(t.ipv6.daddr, &p->to.source, sizeof(struct address), 4);
		t.ipv6.sport = p->to.destination_port;
		t.ipv6.dport = p->to.source_port;
		size = sizeof(t.ipv6);
	}
	if (p->tuple.protocol == IPPROTO_TCP)
		sock = bpf_skc_lookup_tcp(skb, &t, size, BPF_F_CURRENT_NETNS, 0);
	else
		sock = bpf_sk_lookup_udp(skb, &t, size, BPF_F_CURRENT_NETNS, 0);
	if (!sock) return false;
	bpf_sk_release(sock);
	return true;
}

/* What stood in the way has gone. */
static __always_inline bool nat_finds_way(struct packet *p, int entered, bool may_end_owner)
{
	if (entered == NAT_FULL) return opening_give_up();
	return entered == NAT_TAKEN && may_end_owner && opening_end_owner(p);
}

__noinline int nat_claim(struct __sk_buff *skb, struct packet *p)
{
	__u32 ports = self()->nat_port_max - self()->nat_port_min + 1;
	bool choose;
	int entered;

	if (!p) return DROP;
	choose = nat_may_choose_port(p) && !(p->flags & PACKET_DSR); /* two nodes must agree on it */
	for (int try = 0; try < NAT_PORT_TRIES; try++) {
		if (choose && (try || !nat_may_keep_port(p)))
			p->to.source_port = bpf_htons(self()->nat_port_min + bpf_get_prandom_u32() % ports);
		if (choose && packet_returns(p) && nat_is_of_socket(skb, p)) continue;
		entered = nat_insert(p);
		if (nat_finds_way(p, entered, choose && try >= NAT_PORT_FREE_TRIES)) entered = nat_insert(p);
		if (entered == NAT_ENTERED) return NEXT;
		if (entered == NAT_FULL) return drop(p, DROP_TRANSLATIONS_FULL);
		if (entered == NAT_RACED || !choose) break;
	}
	return drop(p, DROP_NAT_PORTS);
}

/* The Service's translation of the answers to this packet, if there is one. A client
 * from outside could be anybody: the pod itself must have said that it has ended. */
__noinline int nat_abandon(struct packet *p)
{
	ALIGNED struct tuple answer, asked;
	const struct translation *t;

	if (!p) return NEXT;
	tuple_reverse(&answer, &p->tuple);
	t = translation_find(&answer);
	if (!t || !(t->flags & TRANSLATION_REVERSE)) return NEXT;
	if (!(t->flags & TRANSLATION_CLOSING) && !source_is_inside(p)) return NEXT;
	tuple_reverse(&asked, &t->to);
	bpf_map_delete_elem(&translations, &answer);
	bpf_map_delete_elem(&translations, &asked);
	return NEXT;
}

/* The client speaks to that backend from that port already, by another Service. */
static __always_inline bool nat_returns_to_snat(struct packet *p)
{
	if (!(p->flags & PACKET_DSR) || !packet_returns(p) || p->reason != DROP_NAT_PORTS) return false;
	p->flags &= ~PACKET_DSR;
	p->reason = DROP_NONE;
	address_copy(&p->to.source, nat_node_address(p));
	return true;
}

static __always_inline enum verdict nat_enter(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v;

	if (p->flags & PACKET_DIRECT) nat_abandon(p);
	if (!(p->flags & PACKET_ENTER) || p->destination == TO_NOBODY) return NEXT;
	v = nat_claim(skb, p);
	return v == DROP && nat_returns_to_snat(p) ? nat_claim(skb, p) : v;
}

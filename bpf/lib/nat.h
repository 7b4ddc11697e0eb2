/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Translation of addresses and ports, in `translations`.
 *
 * One rule finds conntrack's tuple in both directions: the packet's source, and the
 * destination that the translation gives it. So nat_lookup replaces the tuple's
 * destination at once, and lib/rewrite.h changes the headers last.
 *
 *   nat_lookup   a translation that exists, or (services) a frontend's backend,
 *                chosen but not entered. The SYN after a connection that has ended
 *                is a frontend's. An ICMP error takes the translation of the
 *                packet that it quotes, and is PACKET_RELATED where conntrack has
 *                that packet's flow. DROP_NO_BACKEND, which
 *                lib/refuse.h answers.
 *   nat_source   what a new translation does to the source, once the route is
 *                known: towards the world it becomes the node's, but for answers to
 *                what came in untranslated, and a pod that is its own backend sees
 *                the Service as its client.
 *   nat_enter    enters a new translation, once policy has allowed the flow: the
 *                reverse first, whose NOEXIST decides who owns a port.
 *                DROP_TRANSLATIONS_FULL, DROP_NAT_PORTS (no port is free, or another
 *                packet of this flow has made another choice meanwhile).
 *
 * The source port stays where it is free and within the node's masquerading range;
 * otherwise random ones of that range are tried, NAT_PORT_TRIES in all. A host's own
 * flow (PACKET_HOST) keeps its port wherever it is free. Protocols other than TCP,
 * UDP and ICMP echo keep what they have. */
#pragma once
#include "conntrack.h"
#include "icmp.h"
#include "service.h"
#include "takeover.h"
#include "tuple.h"

#define NAT_PORT_TRIES 32
#define EEXIST 17

enum nat_entered { NAT_ENTERED = 0, NAT_TAKEN = 1, NAT_RACED = 2, NAT_FULL = 3 };

static __always_inline void translation_touch(struct translation *t, const struct packet *p)
{
	__u64 now = clock_ns();
	__u32 flags = t->flags;

	if (flags & TRANSLATION_REVERSE) flags |= TRANSLATION_REPLIED;
	if (p->tcp_flags & (TCP_FIN | TCP_RST)) flags |= TRANSLATION_CLOSING;
	if (packet_is_syn(p)) flags &= ~TRANSLATION_CLOSING;
	if (flags != t->flags) t->flags = flags;
	if (now - t->seen_ns >= SECOND_NS) t->seen_ns = now;
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

static __always_inline bool nat_known(struct packet *p, bool services)
{
	ALIGNED struct tuple key;
	struct translation *t;

	tuple_copy(&key, &p->tuple);
	t = translation_find(&key);
	if (!t || (services && nat_forget(p, &key, t))) return false;
	translation_touch(t, p);
	tuple_copy(&p->to, &t->to);
	p->service = t->service;
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

static __always_inline enum verdict nat_service(struct packet *p)
{
	const struct frontend *frontend;
	const struct backend *backend;

	frontend = service_frontend(&p->tuple.destination, p->tuple.destination_port, p->tuple.protocol);
	if (!frontend) return NEXT;
	p->service = frontend->service;
	backend = service_choose(frontend);
	if (!backend) return drop(p, DROP_NO_BACKEND);
	tuple_copy(&p->to, &p->tuple);
	address_copy(&p->to.destination, &backend->address);
	p->to.destination_port = backend->port;
	p->flags |= PACKET_ENTER;
	nat_take(p);
	return NEXT;
}

__noinline int nat_lookup(struct __sk_buff *skb, struct packet *p, bool services)
{
	if (!p) return DROP;
	if (p->flags & PACKET_ICMP_ERROR)
		return nat_lookup_error(skb, p, services && !(p->flags & PACKET_HOST));
	address_copy(&p->asked, &p->tuple.destination);
	p->asked_port = p->tuple.destination_port;
	if (nat_known(p, services) || !services) return NEXT;
	return nat_service(p);
}

static __always_inline const struct address *nat_node_address(const struct packet *p)
{
	return p->family == 4 ? &self()->ipv4 : &self()->ipv6;
}

static __always_inline bool nat_masquerades(const struct packet *p)
{
	return p->destination == TO_WORLD && self()->masquerade && !address_is_zero(nat_node_address(p));
}

static __always_inline enum verdict nat_source(struct packet *p)
{
	bool known = (p->flags & (PACKET_TRANSLATED | PACKET_ENTER)) == PACKET_TRANSLATED;

	if (known || p->flags & PACKET_ICMP_ERROR) return NEXT;
	if (p->flags & PACKET_ENTER && address_equal(&p->tuple.source, &p->tuple.destination))
		address_copy(&p->to.source, &p->asked);
	if (!nat_masquerades(p)) return NEXT;
	if (!(p->flags & (PACKET_ENTER | PACKET_HOST)) && conntrack_is_answer(p)) return NEXT;
	if (!(p->flags & PACKET_ENTER)) tuple_copy(&p->to, &p->tuple);
	address_copy(&p->to.source, nat_node_address(p));
	p->flags |= PACKET_TRANSLATED | PACKET_ENTER;
	return NEXT;
}

/* Will packets between this node and another one find the entry of this key? */
static __always_inline bool nat_is_between_nodes(const struct tuple *key)
{
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
	long error;

	if (!p) return NAT_FULL;
	tuple_copy(&from, &p->tuple);
	address_copy(&from.destination, &p->asked);
	from.destination_port = p->asked_port;
	tuple_reverse(&answer, &p->to);
	nat_note_kind(&from, &answer);

	tuple_reverse(&t.to, &from);
	t.flags = TRANSLATION_REVERSE | (p->flags & PACKET_HOST ? TRANSLATION_HOST : 0);
	t.seen_ns = clock_ns();
	t.service = p->service;
	if (taking_over) translation_find(&answer);
	error = bpf_map_update_elem(&translations, &answer, &t, BPF_NOEXIST);
	if (error == -EEXIST) {
		const struct translation *owner = bpf_map_lookup_elem(&translations, &answer);

		if (!owner || !tuple_equal(&owner->to, &t.to)) return NAT_TAKEN;
	} else if (error) {
		return NAT_FULL;
	}

	tuple_copy(&t.to, &p->to);
	t.flags &= ~TRANSLATION_REVERSE;
	error = bpf_map_update_elem(&translations, &from, &t, BPF_NOEXIST);
	if (!error) return NAT_ENTERED;
	bpf_map_delete_elem(&translations, &answer);
	return error == -EEXIST ? NAT_RACED : NAT_FULL;
}

static __always_inline bool nat_may_choose_port(const struct packet *p)
{
	if (p->destination != TO_WORLD) return false;
	if (p->tuple.protocol == IPPROTO_ICMP || p->tuple.protocol == IPPROTO_ICMPV6)
		return p->icmp_type == ICMP_ECHO_REQUEST || p->icmp_type == ICMPV6_ECHO_REQUEST;
	return p->tuple.protocol == IPPROTO_TCP || p->tuple.protocol == IPPROTO_UDP;
}

static __always_inline bool nat_may_keep_port(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->to.source_port);

	if (p->flags & PACKET_HOST || (p->tuple.protocol != IPPROTO_TCP && p->tuple.protocol != IPPROTO_UDP))
		return true;
	return port >= self()->nat_port_min && port <= self()->nat_port_max;
}

__noinline int nat_claim(struct packet *p)
{
	__u32 ports = self()->nat_port_max - self()->nat_port_min + 1;
	bool choose;
	int entered;

	if (!p) return DROP;
	choose = nat_may_choose_port(p);
	for (int try = 0; try < NAT_PORT_TRIES; try++) {
		if (choose && (try || !nat_may_keep_port(p)))
			p->to.source_port = bpf_htons(self()->nat_port_min + bpf_get_prandom_u32() % ports);
		entered = nat_insert(p);
		if (entered == NAT_ENTERED) return NEXT;
		if (entered == NAT_FULL) return drop(p, DROP_TRANSLATIONS_FULL);
		if (entered == NAT_RACED || !choose) break;
	}
	return drop(p, DROP_NAT_PORTS);
}

static __always_inline enum verdict nat_enter(struct packet *p)
{
	if (!(p->flags & PACKET_ENTER) || p->destination == TO_NOBODY) return NEXT;
	return nat_claim(p);
}

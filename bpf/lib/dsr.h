/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Direct server return: a client of the world asks a Service here, and the backend, a pod of another
 * node, answers it without coming by this one.
 *
 *   client -> Service      this node chooses, and enters its translation (lib/nat.h, nat_may_be_dsr)
 *   SYN, with the Service  in VXLAN to the backend's node, also in native mode (struct dsr_service)
 *                          which enters the translation that it would have if it had been asked:
 *                          dsr_open, dsr_enter
 *   every other packet     as any to a pod elsewhere, but from the client, whose connection the other
 *                          node knows by that translation: dsr_known
 *   backend -> client      by the other node, from the Service
 *
 * Why in the tunnel: its outer source is a node's. An IP option on the client's own packet would be
 * anybody's, and who sends one would have a node speak from any address (docs/adr/0021).
 *
 * dsr_encapsulate   for a packet whose headers are rewritten: DROP_NONE or DROP_HEADER_WRITE
 * dsr_open          `offset` is the outer UDP header's. DROP_NONE: .asked is set, the inner packet stands
 *                   behind the Ethernet header and nothing of it is parsed. DROP_PARSE and what
 *                   tunnel_decapsulate says
 * dsr_enter         the rest, once it is parsed: PACKET_TRANSLATED, and PACKET_ENTER where it is new.
 *                   DROP_TUNNEL_INNER: no SYN of a client of the world to a pod of this node, or
 *                   asked of what is the cluster's here. DROP_NO_ENDPOINT
 * dsr_known         true: the packet, no SYN, belongs to such a connection, and is PACKET_TRANSLATED */
#pragma once
#include "nat.h"
#include "tunnel.h"

#define ETH_P_DSR 0x88b5 /* local experimental EtherType 1 (IEEE 802, 9.2.4) */

/* Between the inner Ethernet header, whose type is ETH_P_DSR, and the packet. */
struct dsr_service {
	struct address address; /* IPv4-mapped */
	__be16 port;
	__be16 type; /* of the packet: the outer one's */
	__u8 pad[4];
};
_Static_assert(sizeof(struct dsr_service) == 24, "dsr_service");

__noinline int dsr_encapsulate(struct __sk_buff *skb, struct packet *p, const struct address *to)
{
	ALIGNED struct dsr_service service = { .type = skb->protocol };

	if (!p || !to) return DROP_HEADER_WRITE;
	address_copy(&service.address, &p->asked);
	service.port = p->asked_port;
	if (tunnel_wrap(skb, &p->tuple, to, bpf_htons(ETH_P_DSR), sizeof(service)) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + tunnel_overhead(p->family), &service, sizeof(service), 0))
		return DROP_HEADER_WRITE;
	return DROP_NONE;
}

__noinline int dsr_open(struct __sk_buff *skb, struct packet *p, __u32 offset)
{
	ALIGNED struct dsr_service service;

	if (!p || bpf_skb_load_bytes(skb, offset + VXLAN_BYTES, &service, sizeof(service)) ||
	    service.type != skb->protocol)
		return DROP_PARSE;
	address_copy(&p->asked, &service.address);
	p->asked_port = service.port;
	p->flags = PACKET_TUNNELLED | PACKET_DSR;
	return tunnel_unwrap(skb, offset, bpf_htons(ETH_P_DSR), sizeof(service));
}

/* What a node may send here: the first packet of a client that is nobody of the cluster. */
static __always_inline bool dsr_is_first(struct packet *p)
{
	if (p->tuple.protocol != IPPROTO_TCP || !packet_is_syn(p)) return false;
	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)) return false;
	if (self_has(&p->asked) || route_of(&p->asked)) return false;
	return address_is_ipv4(&p->asked) == (p->family == 4) && !source_is_inside(p);
}

static __always_inline void dsr_key(struct tuple *key, const struct packet *p)
{
	tuple_copy(key, &p->tuple);
	address_copy(&key->destination, &p->asked);
	key->destination_port = p->asked_port;
}

/* The client's translation here, if it leads to the packet's backend; one that leads elsewhere ends. */
static __always_inline bool dsr_resume(struct packet *p)
{
	struct translation *t, *back;
	ALIGNED struct tuple key, answer;

	dsr_key(&key, p);
	t = translation_find(&key);
	if (!t) return false;
	tuple_reverse(&answer, &t->to);
	back = translation_find(&answer);
	if (back && tuple_equal(&t->to, &p->to)) {
		translation_touch(t, p);
		translation_reopen(t);
		t->flags |= TRANSLATION_DSR; /* it may be from when this node was asked */
		back->flags |= TRANSLATION_DSR;
		return true;
	}
	bpf_map_delete_elem(&translations, &answer);
	bpf_map_delete_elem(&translations, &key);
	return false;
}

__noinline int dsr_enter(struct packet *p)
{
	if (!p || !dsr_is_first(p)) return p ? drop(p, DROP_TUNNEL_INNER) : DROP;
	if (route_lookup(p) != NEXT) return DROP;
	if (p->destination == TO_NOBODY && p->unreachable == DROP_NO_ENDPOINT)
		return drop(p, DROP_NO_ENDPOINT);
	if (p->destination != TO_ENDPOINT) return drop(p, DROP_TUNNEL_INNER);
	tuple_copy(&p->to, &p->tuple);
	p->flags |= PACKET_TRANSLATED;
	if (!dsr_resume(p)) p->flags |= PACKET_ENTER;
	return NEXT;
}

__noinline int dsr_known(struct packet *p)
{
	ALIGNED struct tuple key;
	struct translation *t;

	if (!p || p->tuple.protocol != IPPROTO_TCP || packet_is_syn(p)) return false;
	tuple_reverse(&key, &p->tuple);
	t = translation_find(&key);
	if (!t || !(t->flags & TRANSLATION_DSR)) return false;
	address_copy(&p->asked, &t->to.source);
	p->asked_port = t->to.source_port;
	dsr_key(&key, p);
	t = translation_find(&key);
	if (!t || !tuple_equal(&t->to, &p->tuple)) return false;
	translation_touch(t, p);
	tuple_copy(&p->to, &p->tuple);
	p->flags |= PACKET_TRANSLATED;
	return true;
}

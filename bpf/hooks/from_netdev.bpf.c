/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ingress of the uplink: what other nodes and the world send, plain or in the
 * tunnel. The stack gets what is for this node and no Service's, and what is for
 * nobody here. A Service's backend elsewhere is reached through this node. */
#include "../lib/between_nodes.h"
#include "../lib/conntrack.h"
#include "../lib/finish.h"
#include "../lib/forward.h"
#include "../lib/known.h"
#include "../lib/nat.h"
#include "../lib/refuse.h"
#include "../lib/sort.h"
#include "../lib/source.h"

static __always_inline enum verdict prove(struct packet *p)
{
	enum verdict v = p->flags & PACKET_TUNNELLED ? source_tunnelled(p) : source_bare(p);

	return v == NEXT ? sort_first(p) : v;
}

/* For this node's address: an answer to what it translated, a Service's, or for its stack. */
static __always_inline enum verdict admit_to_node(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = prove(p);

	if (v == NEXT) v = nat_lookup(skb, p, NAT_NETWORK);
	return v == NEXT && !(p->flags & PACKET_TRANSLATED) ? PASS : v;
}

/* For nobody's address here, which may be a Service's all the same. Otherwise the stack may
 * forward it, and what it forwards for a pod to_netdev sends as that pod's: the source is
 * proven first. Multicast stays on this node. */
static __always_inline enum verdict admit_beyond(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v;

	if (address_is_multicast(&p->tuple.destination)) return PASS;
	v = prove(p);
	if (v == NEXT) v = nat_lookup(skb, p, NAT_NETWORK);
	if (v == NEXT && p->flags & PACKET_TRANSLATED) return route_lookup(p);
	if (v == NEXT && p->destination == TO_NOBODY) return drop(p, p->unreachable);
	return v == NEXT ? PASS : v;
}

/* Not a Service's, but of a connection that another node has led here the source is proven. */
static __always_inline enum verdict admit_to_pod(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v;

	if (self()->dsr && dsr_known(p)) return sort_first(p);
	v = prove(p);
	return v == NEXT ? nat_lookup_of_pod(skb, p, NAT_STACK) : v;
}

static __always_inline bool is_beyond(const struct packet *p)
{
	if (p->flags & PACKET_TRANSLATED) return false;
	return p->destination == TO_WORLD || p->destination == TO_NODE ||
	       (p->destination == TO_NOBODY && p->unreachable != DROP_NO_ENDPOINT);
}

static __always_inline enum verdict admit(struct __sk_buff *skb, struct packet *p)
{
	bool proven = p->flags & PACKET_TRANSLATED;
	enum verdict v = route_lookup(p);

	if (v == NEXT && is_beyond(p)) {
		v = admit_beyond(skb, p);
		proven = true;
	}
	if (v == NEXT && p->destination == TO_NOBODY) return drop(p, p->unreachable);
	if (v == NEXT && p->destination == TO_ENDPOINT && !proven) v = admit_to_pod(skb, p);
	if (v != NEXT) return v;
	if (p->flags & PACKET_TRANSLATED) p->flags |= PACKET_NETWORK;
	v = nat_source(p);
	if (v == NEXT && p->destination == TO_ENDPOINT) v = conntrack(p, skb->ifindex);
	if (v == NEXT) v = nat_enter(skb, p);
	if (v == NEXT) finish_audit(skb, p, HOOK_FROM_NETDEV);
	return v;
}

/* ARP, VLANs, what the stack itself refuses; for this node, fragments that it puts together,
 * and headers that we do not read, from a source that may be bare. Not a first fragment
 * without its ports, which the stack would complete unproven. */
static __always_inline bool is_for_stack(enum verdict v, struct packet *p)
{
	if (v != DROP) return false;
	if (p->reason == DROP_ETHERTYPE) return true;
	if (p->reason == DROP_PARSE) return !(p->flags & PACKET_FIRST_FRAGMENT);
	if (!self_has(&p->tuple.destination)) return false;
	return p->reason == DROP_FRAGMENT || (p->reason == DROP_IP_OPTIONS && source_bare(p) == NEXT);
}

/* What tunnel_decapsulate did not take may be a client's first packet. */
static __always_inline enum drop_reason open_dsr(struct __sk_buff *skb, struct packet *p,
						 enum drop_reason reason, __u32 offset)
{
	return self()->dsr && reason == DROP_PARSE ? dsr_open(skb, p, offset) : reason;
}

/* Out of the tunnel, by its outer headers, which are gone then. */
static __always_inline enum verdict leave_tunnel(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = tunnel_prove(p);
	enum drop_reason reason;

	if (v != NEXT) return v;
	p->flags = PACKET_TUNNELLED;
	reason = tunnel_decapsulate(skb, p->transport);
	if (reason) reason = open_dsr(skb, p, reason, p->transport);
	if (reason) return drop(p, reason);
	__builtin_memset(&p->tuple, 0, sizeof(p->tuple));
	return parse(skb, p);
}

/* What came out of the tunnel and went by the sorter: its source says by which node. */
static __always_inline void restore_tunnel(struct packet *p)
{
	const struct route *route = route_of(&p->tuple.source);
	const struct node *node = node_of(&p->tuple.source);

	if (self()->tunnel_mode != TUNNEL_VXLAN) return;
	if (route && route->kind == ROUTE_PODS)
		p->tunnel_node = route->node;
	else if (node && endpoint_of(&p->tuple.destination))
		p->tunnel_node = node->node;
	if (p->tunnel_node) p->flags |= PACKET_TUNNELLED;
}

__noinline int sort_received(struct packet *p)
{
	enum verdict v;

	if (!p) return DROP;
	v = prove(p);
	return v == NEXT ? sort_early(p) : v;
}

static __always_inline enum verdict receive(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = parse(skb, p);

	sort_return(skb, p);
	if (p->flags & PACKET_SORTED) restore_tunnel(p);
	if (v == NEXT && !(p->flags & PACKET_TUNNELLED) && self_has(&p->tuple.destination) &&
	    tunnel_is_for_us(p))
		v = leave_tunnel(skb, p);
	else if (!(p->flags & PACKET_TUNNELLED) && !sort_wants(v, p) && is_for_stack(v, p))
		return PASS;
	return sort_wants(v, p) ? sort_received(p) : v;
}

SEC("tc")
int from_netdev(struct __sk_buff *skb)
{
	id64 sender = 0;
	enum between between = received_between_nodes(skb, &sender);
	enum drop_reason reason = DROP_NONE;

	if (between == BETWEEN_STACKS) return TC_ACT_OK;
	if (between == BETWEEN_TUNNEL) reason = tunnel_decapsulate(skb, plain_transport(skb));
	if (!reason && forward_known(skb, sender) == REDIRECT) return TC_ACT_REDIRECT;

	struct packet p = { .tunnel_node = sender, .flags = sender ? PACKET_TUNNELLED : 0 };
	enum verdict v;

	if (reason) reason = open_dsr(skb, &p, reason, plain_transport(skb));
	v = reason ? drop(&p, reason) : receive(skb, &p);
	if (v == NEXT && self()->dsr && p.flags & PACKET_DSR) v = dsr_enter(&p);
	if (v == NEXT && self_has(&p.tuple.destination)) v = admit_to_node(skb, &p);
	if (v == NEXT && !conntrack_known(&p, skb->ifindex)) v = admit(skb, &p);
	if (v == NEXT) v = forward(skb, &p);
	if (sort_cuts(skb, v, &p)) v = sort_again(&p);
	if (v == DROP && p.reason == DROP_BARE_SOURCE && skb->mark == HEDDLE_MARK)
		v = PASS; /* refuse_to_host's */
	return refuse_to_network(skb, &p, finish(skb, &p, HOOK_FROM_NETDEV, v));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

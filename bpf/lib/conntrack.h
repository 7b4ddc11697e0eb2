/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Conntrack: a flow that was allowed is not judged again.
 *
 * conntrack_known is the fast path: true where the packet's flow is in `flows`, its
 * epoch is current, this direction was proven to enter here, and nothing about
 * the packet changes the flow or needs more (SYN; a translation, which may have to be
 * entered; an ICMP error; a first fragment).
 * It then fills packet.destination, .ifindex_out and .node_out.
 *
 * conntrack does the rest, once source and route are known:
 *   - an entry that is not idle, and no SYN: allowed; judged again in its original
 *     direction if the epoch has moved. A denial leaves the entry as it is, so that
 *     the next packet is judged in the original direction too. The first reply
 *     promotes it from `flows_opening` to `flows`. An answer to what came by the
 *     node's stack goes back there: iptables may have given it this destination
 *     (a hostPort), and must take it back.
 *   - otherwise a new flow, judged in the packet's direction. A TCP packet without
 *     SYN may belong to a flow older than the table: it is also judged as a reply,
 *     also where audited policies alone would deny it.
 *     (Not so UDP and ICMP, whose first packet looks like any other: judged as a
 *     reply, it would pass an egress policy wherever ingress is open.) An echo reply
 *     opens nothing: the flow of its id runs the other way, the request's to open.
 *   - to an address that nobody has nothing is entered, nor is an entry's epoch renewed: no
 *     ingress was judged, and a pod that gets the address moves no epoch.
 *   - an ICMP error is no flow: PACKET_RELATED is allowed, any other is judged by its
 *     type and code, and nothing is entered.
 * DROP: what policy says, DROP_FLOWS_FULL. */
#pragma once
#include "../abi/conntrack.h"
#include "clock.h"
#include "epoch.h"
#include "idle.h"
#include "policy.h"
#include "seen.h"

/* flow_side.ifindex_in of what this node's stack sends into a pod. */
#define FROM_STACK (1U << 31)

/* Key of the packet's flow; returns its direction: 0 from low to high, 1 back. */
static __always_inline __u32 flow_key_of(struct flow_key *key, const struct tuple *t)
{
	int order = address_compare(&t->source, &t->destination);
	bool back;

	if (!order)
		back = bpf_ntohs(t->source_port) > bpf_ntohs(t->destination_port);
	else
		back = order > 0;
	if (back) {
		address_copy(&key->low, &t->destination);
		address_copy(&key->high, &t->source);
		key->low_port = t->destination_port;
		key->high_port = t->source_port;
	} else {
		address_copy(&key->low, &t->source);
		address_copy(&key->high, &t->destination);
		key->low_port = t->source_port;
		key->high_port = t->destination_port;
	}
	*(__u32 *)&key->protocol = t->protocol; /* and the pad */
	return back;
}

/* False if the flow has been idle too long; otherwise notes that it is not. */
static __always_inline bool flow_touch(struct flow *flow, __u8 protocol, bool opening)
{
	__u64 now = clock_ns(), idle = now - flow->seen_ns;

	if (idle < SECOND_NS) return true;
	if ((__s64)idle > (__s64)idle_limit_ns(protocol, opening)) return false;
	flow->seen_ns = now;
	return true;
}

/* Does the packet answer a flow that its destination has opened? */
__noinline int conntrack_is_answer(struct packet *p)
{
	ALIGNED struct flow_key key;
	const struct flow *flow;
	bool opening;
	__u32 back;

	if (!p || packet_is_syn(p)) return false;
	back = flow_key_of(&key, &p->tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	opening = !flow;
	if (opening) flow = bpf_map_lookup_elem(&flows_opening, &key);
	return flow && back != !!(flow->flags & FLOW_ORIGIN_HIGH) &&
	       (__s64)(clock_ns() - flow->seen_ns) <= (__s64)idle_limit_ns(p->tuple.protocol, opening);
}

/* Is it the SYN-ACK to a SYN that came in untranslated? Of anything else the tuple alone does not
 * say who asked first: whoever sends from a Service's address would have what a pod asks it. */
__noinline int conntrack_is_plain_syn_ack(struct packet *p)
{
	const __u32 syn_ack = TCP_SYN | TCP_ACK, other = FLOW_TRANSLATED | FLOW_BY_STACK;
	const struct flow *flow;
	ALIGNED struct flow_key key;
	__u32 back;

	if (!p || (p->tcp_flags & syn_ack) != syn_ack) return false;
	back = flow_key_of(&key, &p->tuple);
	flow = bpf_map_lookup_elem(&flows_opening, &key);
	return flow && back != !!(flow->flags & FLOW_ORIGIN_HIGH) && !(flow->flags & other);
}

/* Is this the tuple of a flow that is allowed now? */
static __always_inline bool conntrack_has(const struct tuple *t)
{
	ALIGNED struct flow_key key;
	const struct flow *flow;

	flow_key_of(&key, t);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) flow = bpf_map_lookup_elem(&flows_opening, &key);
	return flow && flow->epoch == epoch_current();
}

static __always_inline bool flow_known(struct packet *p, __u32 ifindex_in, __u32 epoch,
				       struct flow_seen *seen)
{
	const struct flow_side *side;
	ALIGNED struct flow_key key;
	struct flow *flow;
	__u32 back;

	back = flow_key_of(&key, &p->tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) return false;
	side = &flow->side[back];
	if (side->ifindex_in != ifindex_in || flow->epoch != epoch || flow->flags & FLOW_TRANSLATED)
		return false;
	if (self()->tunnel_mode && flow->side[!back].node != p->tunnel_node) return false;
	if (!flow_touch(flow, p->tuple.protocol, false)) return false;
	p->ifindex_out = side->ifindex_out;
	p->node_out = side->node;
	p->destination = !side->ifindex_out ? TO_STACK : side->node ? TO_NODE : TO_ENDPOINT;
	if (seen) flow_see(seen, p, ifindex_in, flow);
	return true;
}

static __always_inline bool conntrack_known(struct packet *p, __u32 ifindex_in)
{
	__u32 epoch = epoch_current();
	struct flow_seen *seen;

	if (p->tcp_flags & TCP_SYN) return false;
	if (p->flags & (PACKET_ICMP_ERROR | PACKET_FIRST_FRAGMENT | PACKET_TRANSLATED)) return false;
	seen = flow_seen_slot(&p->tuple);
	if (!seen || !flow_is_seen(seen, &p->tuple, ifindex_in, p->tunnel_node))
		return flow_known(p, ifindex_in, epoch, seen);
	p->ifindex_out = seen->ifindex_out;
	p->node_out = seen->node_out;
	p->destination = seen->destination;
	return true;
}

static __always_inline void flow_note(struct flow *flow, const struct packet *p, __u32 back, __u32 ifindex_in)
{
	struct flow_side *side = &flow->side[back];

	if (back == !!(flow->flags & FLOW_ORIGIN_HIGH) &&
	    !(ifindex_in & FROM_STACK) != !(flow->flags & FLOW_BY_STACK)) {
		flow->flags ^= FLOW_BY_STACK;
		flow->side[!back].ifindex_in = 0; /* answers go another way now */
	}
	if (p->flags & PACKET_TRANSLATED) flow->flags |= FLOW_TRANSLATED;
	if (p->flags & PACKET_TUNNELLED) flow->side[!back].node = p->tunnel_node;
	if (p->destination == TO_NOBODY) return;
	side->ifindex_out = p->destination == TO_ENDPOINT ? p->ifindex_out
			    : p->destination == TO_NODE   ? self()->uplink
							  : 0;
	side->node = p->destination == TO_NODE ? p->node_out : 0;
	side->ifindex_in = ifindex_in;
}

/* Enters a flow; the packet is its originator's, or else (reversed) an answer. */
__noinline int flow_open(struct packet *p, __u32 ifindex_in, bool reversed)
{
	struct flow flow = {};
	ALIGNED struct flow_key key;
	__u32 back;

	if (!p) return DROP;
	back = flow_key_of(&key, &p->tuple);
	flow.seen_ns = clock_ns();
	flow.epoch = p->epoch;
	flow.flags = back != reversed ? FLOW_ORIGIN_HIGH : 0;
	flow_note(&flow, p, back, ifindex_in);
	if (bpf_map_update_elem(&flows_opening, &key, &flow, BPF_ANY)) return drop(p, DROP_FLOWS_FULL);
	bpf_map_delete_elem(&flows, &key);
	return NEXT;
}

/* Moves an answered flow out of reach of those that nobody answers. */
__noinline int flow_promote(struct packet *p)
{
	ALIGNED struct flow_key key;
	struct flow *opening, flow;

	if (!p) return DROP;
	flow_key_of(&key, &p->tuple);
	opening = bpf_map_lookup_elem(&flows_opening, &key);
	if (!opening) return NEXT;
	flow = *opening;
	flow.flags |= FLOW_REPLIED;
	if (bpf_map_update_elem(&flows, &key, &flow, BPF_ANY)) return drop(p, DROP_FLOWS_FULL);
	bpf_map_delete_elem(&flows_opening, &key);
	return NEXT;
}

/* The client that a Service led here has come to the backend itself, from the same port: the answers must
 * be the backend's now. TCP says so by a SYN. Of another protocol whoever forges an outside client's
 * address could, so only where the source is the cluster's, as far as lib/source.h can prove it. What
 * the stack forwards may have been translated before. */
static __always_inline bool flow_is_direct_now(const struct flow *flow, struct packet *p, __u32 ifindex_in)
{
	if (!(flow->flags & FLOW_TRANSLATED) || p->flags & PACKET_TRANSLATED || ifindex_in & FROM_STACK)
		return false;
	return p->tuple.protocol == IPPROTO_TCP ? packet_is_syn(p) : source_is_inside(p);
}

/* The reverse: one that went without a Service goes by one now, from the same port. */
static __always_inline bool flow_is_rerouted(const struct flow *flow, const struct packet *p)
{
	return !(flow->flags & FLOW_TRANSLATED) && p->flags & PACKET_TRANSLATED;
}

static __always_inline enum verdict conntrack_new(struct packet *p, __u32 ifindex_in)
{
	bool answer = p->tuple.protocol == IPPROTO_TCP && !packet_is_syn(p), reversed = false;
	enum verdict v = policy_check(p, false);

	if (answer && (v != NEXT || p->flags & PACKET_AUDITED)) {
		reversed = policy_check(p, true) == NEXT && (v != NEXT || !(p->flags & PACKET_AUDITED));
		v = reversed ? NEXT : policy_check(p, false); /* the event names the packet's own direction */
	}
	if (v != NEXT || packet_is_echo_reply(p) || p->destination == TO_NOBODY) return v;
	return flow_open(p, ifindex_in, reversed);
}

__noinline int conntrack(struct packet *p, __u32 ifindex_in)
{
	ALIGNED struct flow_key key;
	struct flow *flow;
	bool opening, reversed, rerouted;
	__u32 back;

	if (!p) return DROP;
	p->epoch = epoch_current();
	if (p->flags & PACKET_RELATED) return NEXT;
	if (p->flags & PACKET_ICMP_ERROR) return policy_check(p, false);
	back = flow_key_of(&key, &p->tuple);
	flow = bpf_map_lookup_elem(&flows, &key);
	opening = !flow;
	if (opening) flow = bpf_map_lookup_elem(&flows_opening, &key);
	if (flow && flow_is_direct_now(flow, p, ifindex_in)) p->flags |= PACKET_DIRECT;
	rerouted = flow && flow_is_rerouted(flow, p);
	if (!flow || packet_is_syn(p) || !flow_touch(flow, p->tuple.protocol, opening)) {
		enum verdict v = conntrack_new(p, ifindex_in);

		if (rerouted) flow_unsee(p);
		return v;
	}

	reversed = back != !!(flow->flags & FLOW_ORIGIN_HIGH);
	if (flow->epoch != p->epoch) {
		enum verdict v = policy_check(p, reversed);

		if (v != NEXT) return v;
		flow->side[!back].ifindex_in = 0; /* prove and route it again */
	}
	if (reversed && flow->flags & FLOW_BY_STACK) p->destination = TO_STACK;
	if (p->flags & PACKET_DIRECT) flow->flags &= ~FLOW_TRANSLATED;
	flow_note(flow, p, back, ifindex_in);
	if (p->destination != TO_NOBODY)
		flow->epoch = p->epoch; /* last: conntrack_known trusts a side whose epoch is current */
	if (rerouted) flow_unsee(p);
	return opening && reversed ? flow_promote(p) : NEXT;
}

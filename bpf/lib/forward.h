/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Sends an allowed packet where lib/route.h decided.
 *
 *   TO_STACK      PASS
 *   TO_NOBODY     DROP with packet.unreachable
 *   TO_ENDPOINT   into the pod, past the stack of this node
 *   TO_NODE       to the node's nexthop, plain or in VXLAN; DROP_NO_NEXTHOP
 *   TO_WORLD      out of the uplink; PASS where it is not masqueraded, or the route is
 *                 another device's, or unknown
 * A translated packet is rewritten first. A redirect takes one from the hop limit. PASS instead of a redirect
 * where the hop limit is used up or the packet is larger than the way allows: the stack, which has a route
 * for every pod, answers Time Exceeded or Packet Too Big. What is to be masqueraded goes there unchanged, so
 * that the answer finds the pod. What comes from the network and returns there the stack would take for its
 * own: DROP_HOP_LIMIT and DROP_TOO_LARGE, which lib/refuse.h answers. */
#pragma once
#include "dsr.h"
#include "epoch.h"
#include "rewrite.h"
#include "tunnel.h"

#define MTU_ALWAYS_FITS 1280 /* no IP device has less than IPv6 asks (RFC 8200 5) */

static __always_inline enum verdict hop_limit_decrement(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));
		__u32 sum;

		if (!ip) return DROP;
		sum = ip->check + bpf_htons(0x0100); /* RFC 1141 */
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip) return DROP;
		ip->hop_limit--;
	}
	return NEXT;
}

/* Bytes of one segment of a GSO packet, without the link header. */
static __always_inline __u32 segment_length(struct __sk_buff *skb, const struct packet *p)
{
	__u32 transport = sizeof(struct udphdr);
	__u8 tcp_length;

	if (p->tuple.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, p->transport + 12, &tcp_length, 1)) return 0;
		transport = (tcp_length >> 4) * 4;
	}
	return p->transport - ETH_HLEN + transport + skb->gso_size;
}

__noinline int larger_than_path(struct __sk_buff *skb, struct packet *p, __u32 ifindex, __u32 overhead)
{
	__u32 mtu = 0;

	if (!p) return false;
	if (bpf_check_mtu(skb, ifindex, &mtu, overhead, 0) <= 0 &&
	    !(skb->gso_size && mtu && segment_length(skb, p) + overhead > mtu))
		return false;
	p->mtu = mtu - overhead;
	return true;
}

static __always_inline int redirect_neigh(struct __sk_buff *skb, __u32 ifindex, const struct address *gateway)
{
	struct bpf_redir_neigh neigh = {};

	if (address_is_ipv4(gateway)) {
		neigh.nh_family = AF_INET;
		neigh.ipv4_nh = address_ipv4(gateway);
	} else {
		neigh.nh_family = AF_INET6;
		COPY_ALIGNED(neigh.ipv6_nh, gateway, sizeof(*gateway), 4);
	}
	skb->mark = HEDDLE_MARK;
	bpf_redirect_neigh(ifindex, &neigh, sizeof(neigh), 0);
	return REDIRECT;
}

#define NEXTHOPS_SEEN_BITS 6

/* A nexthop as `nexthops` had it under that policy epoch, which its change moves; for each CPU. */
struct nexthop_seen {
	struct nexthop_key key;
	struct nexthop nexthop;
	__u32 epoch;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << NEXTHOPS_SEEN_BITS);
	__type(key, __u32);
	__type(value, struct nexthop_seen);
} nexthops_seen SEC(".maps");

static __always_inline const struct nexthop *nexthop_of(id64 node, __u32 family)
{
	struct nexthop_key key = { .node = node, .family = family };
	__u32 slot = node & ((1 << NEXTHOPS_SEEN_BITS) - 1); /* a node's id is a hash */
	struct nexthop_seen *seen = bpf_map_lookup_elem(&nexthops_seen, &slot);
	__u32 epoch = epoch_current(); /* before `nexthops` is read */
	const struct nexthop *nexthop;

	if (seen && seen->epoch == epoch && seen->key.node == node && seen->key.family == family)
		return &seen->nexthop;
	nexthop = bpf_map_lookup_elem(&nexthops, &key);
	if (!seen || !nexthop) return nexthop;
	seen->key = key;
	seen->nexthop = *nexthop;
	seen->epoch = epoch;
	return nexthop;
}

static __always_inline int tunnel_to_node(struct __sk_buff *skb, const struct tuple *t,
					  const struct nexthop *nexthop)
{
	return self()->tunnel_mode == TUNNEL_VXLAN ? tunnel_encapsulate(skb, t, &nexthop->tunnel) : DROP_NONE;
}

static __always_inline bool packet_is_dsr(const struct packet *p)
{
	return self()->dsr && p->flags & PACKET_DSR;
}

static __always_inline __u32 overhead_to_node(const struct packet *p)
{
	if (packet_is_dsr(p)) return tunnel_overhead(p->family) + sizeof(struct dsr_service);
	return self()->tunnel_mode == TUNNEL_VXLAN ? tunnel_overhead(p->family) : 0;
}

/* DROP: the headers cannot be written. */
static __always_inline enum verdict send_to_node(struct __sk_buff *skb, const struct tuple *t,
						 const struct nexthop *nexthop)
{
	if (tunnel_to_node(skb, t, nexthop)) return DROP;
	return redirect_neigh(skb, nexthop->ifindex, &nexthop->gateway);
}

static __always_inline enum verdict send_packet_to_node(struct __sk_buff *skb, struct packet *p,
							const struct nexthop *nexthop)
{
	if (!packet_is_dsr(p)) return send_to_node(skb, &p->tuple, nexthop);
	if (dsr_encapsulate(skb, p, &nexthop->tunnel)) return DROP;
	return redirect_neigh(skb, nexthop->ifindex, &nexthop->gateway);
}

static __always_inline enum verdict forward_node(struct __sk_buff *skb, struct packet *p)
{
	const struct nexthop *nexthop = nexthop_of(p->node_out, p->family);
	__u32 overhead = overhead_to_node(p);
	bool large;

	if (!nexthop) return drop(p, DROP_NO_NEXTHOP);
	large = skb->len > MTU_ALWAYS_FITS && larger_than_path(skb, p, nexthop->ifindex, overhead);
	if (large && packet_returns(p)) return drop(p, DROP_TOO_LARGE);
	if (rewrite(skb, p) == DROP) return DROP;
	if (large) return PASS;
	if (hop_limit_decrement(skb) == DROP || send_packet_to_node(skb, p, nexthop) == DROP)
		return drop(p, DROP_HEADER_WRITE);
	return REDIRECT;
}

/* Does the kernel route it out of the uplink, as it is? */
__noinline int is_for_uplink(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_fib_lookup fib = {};
	long result;

	if (!p) return false;
	fib.ifindex = skb->ifindex;
	fib.tot_len = skb->gso_size ? segment_length(skb, p) : skb->len - ETH_HLEN;
	if (p->family == 4) {
		fib.family = AF_INET;
		fib.ipv4_src = address_ipv4(&p->tuple.source);
		fib.ipv4_dst = address_ipv4(&p->tuple.destination);
	} else {
		fib.family = AF_INET6;
		COPY_ALIGNED(fib.ipv6_src, &p->tuple.source, sizeof(struct address), 4);
		COPY_ALIGNED(fib.ipv6_dst, &p->tuple.destination, sizeof(struct address), 4);
	}
	result = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return (result == BPF_FIB_LKUP_RET_SUCCESS || result == BPF_FIB_LKUP_RET_NO_NEIGH) &&
	       fib.ifindex == self()->uplink;
}

static __always_inline enum verdict forward_world(struct __sk_buff *skb, struct packet *p)
{
	if (!packet_returns(p) &&
	    (!(p->flags & PACKET_TRANSLATED) || p->hop_limit <= 1 || !is_for_uplink(skb, p)))
		return PASS;
	if (rewrite(skb, p) == DROP) return DROP;
	if (hop_limit_decrement(skb) == DROP) return drop(p, DROP_HEADER_WRITE);
	skb->mark = HEDDLE_MARK;
	bpf_redirect_neigh(self()->uplink, NULL, 0, 0);
	return REDIRECT;
}

static __always_inline enum verdict forward(struct __sk_buff *skb, struct packet *p)
{
	if (p->destination == TO_NOBODY) return drop(p, p->unreachable);
	if (p->hop_limit <= 1 && packet_returns(p)) return drop(p, DROP_HOP_LIMIT);
	if (p->destination == TO_WORLD) return forward_world(skb, p);
	if (p->destination == TO_NODE && p->hop_limit > 1) return forward_node(skb, p);
	if (rewrite(skb, p) == DROP) return DROP;
	if (p->destination == TO_STACK || p->hop_limit <= 1) return PASS;
	if (hop_limit_decrement(skb) == DROP) return drop(p, DROP_HEADER_WRITE);
	bpf_redirect_peer(p->ifindex_out, 0);
	return REDIRECT;
}

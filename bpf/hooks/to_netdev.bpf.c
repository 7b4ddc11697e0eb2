/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Egress of the uplink: what this node's stack sends. What Heddle has judged and
 * redirected carries its mark; what goes from node to node passes at once. */
#include "../lib/finish.h"
#include "../lib/forward.h"
#include "../lib/route.h"

static __always_inline enum verdict leave(struct __sk_buff *skb, struct packet *p)
{
	struct nexthop_key key = { .family = p->family };
	const struct nexthop *nexthop;

	route_lookup(p);
	if (p->destination != TO_NODE || self()->tunnel_mode == TUNNEL_NONE) return PASS;
	key.node = p->node_out;
	nexthop = bpf_map_lookup_elem(&nexthops, &key);
	if (!nexthop) return drop(p, DROP_NO_NEXTHOP);
	return tunnel_encapsulate(skb, p, &nexthop->tunnel) == NEXT ? PASS : DROP;
}

static __always_inline bool is_node_to_node(const struct packet *p)
{
	return self_has(&p->tuple.source) && bpf_map_lookup_elem(&nodes, &p->tuple.destination);
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	struct packet p = {};
	enum verdict v;

	if (skb->mark == HEDDLE_MARK) return TC_ACT_OK;
	v = parse_network(skb, &p);
	if (v != NEXT || is_node_to_node(&p)) return TC_ACT_OK;
	v = leave(skb, &p);
	return finish(skb, &p, HOOK_TO_NETDEV, v);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Node to node: neither ours to judge nor, mostly, to translate. Known before
 * anything is parsed in full, so that it stays cheap; what is not known here goes
 * the long way to the same end.
 *
 * sent_between_nodes: this node's address speaks to another node's, and does not answer
 * what it asked a Service.
 * received_between_nodes: the other way, whole TCP or UDP packets without options.
 *   BETWEEN_STACKS   nothing that `translations` has (a host's own flow to a
 *                    Service with a backend on a node's address); they are asked only
 *                    once such a one was entered; nor the first packet to a Service's
 *                    port: by UDP, only to one below those that masquerading gives
 *   BETWEEN_TUNNEL   the tunnel's; *sender is the node */
#pragma once
#include "epoch.h"
#include "plain.h"
#include "route.h"
#include "service.h"
#include "takeover.h"

#define NODES_SEEN_BITS 8

/* The node of an address as `nodes` had it under that policy epoch, which every change of
 * `nodes` moves. One for each CPU: nobody else reads while it is written. A hit costs a
 * fifth of what the hash table does, and each packet between nodes needs one. */
struct node_seen {
	struct address address;
	struct node node;
	__u32 epoch;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << NODES_SEEN_BITS);
	__type(key, __u32);
	__type(value, struct node_seen);
} nodes_seen SEC(".maps");

static __always_inline const struct node *between_node_of(const struct address *a)
{
	/* Knuth, TAOCP 6.4: multiplicative hashing. */
	__u32 slot = (address_word(a, 0) ^ address_word(a, 1)) * 0x9e3779b97f4a7c15 >> (64 - NODES_SEEN_BITS);
	struct node_seen *seen = bpf_map_lookup_elem(&nodes_seen, &slot);
	__u32 epoch = epoch_current(); /* before `nodes` is read */
	const struct node *node;

	if (seen && seen->epoch == epoch && address_equal(&seen->address, a) && seen->node.node)
		return &seen->node;
	node = node_of(a);
	if (!seen || !node) return node;
	address_copy(&seen->address, a);
	seen->node = *node;
	seen->epoch = epoch;
	return node;
}

/* A connection to a Service is its own from the SYN on; a datagram may be the first. */
static __always_inline bool between_asks_service(struct __sk_buff *skb, const struct tuple *t)
{
	bool opens = t->protocol == IPPROTO_TCP ? plain_is_syn(skb, t)
						: bpf_ntohs(t->destination_port) < self()->nat_port_min;

	return opens && service_frontend(&t->destination, t->destination_port, t->protocol);
}

enum between { BETWEEN_UNKNOWN = 0, BETWEEN_STACKS = 1, BETWEEN_TUNNEL = 2 };

static __always_inline bool between_is_tunnel(const struct tuple *t)
{
	return self_has_tunnel() && t->protocol == IPPROTO_UDP && t->destination_port == self()->tunnel_port;
}

static __always_inline bool between_may_be_translated(void)
{
	__u32 zero = 0;
	const struct nat_kinds *kinds = bpf_map_lookup_elem(&nat_kinds, &zero);

	return kinds && kinds->between_nodes;
}

static __always_inline bool between_is_translated(const struct tuple *t)
{
	return between_may_be_translated() && translation_find(t);
}

static __always_inline bool sent_between_nodes(struct __sk_buff *skb)
{
	ALIGNED struct tuple t;

	if (!plain_addresses(skb, &t) || !self_has(&t.source) || !between_node_of(&t.destination))
		return false;
	return !between_may_be_translated() || !plain_ports(skb, &t) || !translation_find(&t);
}

static __always_inline enum between received_between_nodes(struct __sk_buff *skb, id64 *sender)
{
	const struct node *node;
	ALIGNED struct tuple t;

	if (!plain_addresses(skb, &t) || !self_has(&t.destination)) return BETWEEN_UNKNOWN;
	node = between_node_of(&t.source);
	if (!node || node->flags & NODE_OWN || !plain_ports(skb, &t)) return BETWEEN_UNKNOWN;
	if (!between_is_tunnel(&t))
		return between_is_translated(&t) || between_asks_service(skb, &t) ? BETWEEN_UNKNOWN
										  : BETWEEN_STACKS;
	*sender = node->node;
	return BETWEEN_TUNNEL;
}

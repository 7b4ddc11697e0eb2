/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Node to node: neither ours to judge nor, mostly, to translate. Known before
 * anything is parsed in full, so that it stays cheap; what is not known here goes
 * the long way to the same end.
 *
 * sent_between_nodes: this node's address speaks to another node's.
 * received_between_nodes: the other way, whole TCP or UDP packets without options.
 *   BETWEEN_STACKS   nothing that `translations` has (a host's own flow to a
 *                    Service with a backend on a node's address)
 *   BETWEEN_TUNNEL   the tunnel's; *sender is the node */
#pragma once
#include "parse.h"
#include "route.h"
#include "takeover.h"
#include "tuple.h"

static __always_inline bool between_addresses(struct __sk_buff *skb, struct tuple *t)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip) return false;
		address_from_ipv4(&t->source, ip->saddr);
		address_from_ipv4(&t->destination, ip->daddr);
		return true;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip) return false;
		address_from_ipv6(&t->source, &ip->saddr);
		address_from_ipv6(&t->destination, &ip->daddr);
		return !address_is_ipv4(&t->source) && !address_is_ipv4(&t->destination);
	}
	return false;
}

static __always_inline bool sent_between_nodes(struct __sk_buff *skb)
{
	ALIGNED struct tuple t;

	return between_addresses(skb, &t) && self_has(&t.source) && node_of(&t.destination);
}

static __always_inline bool between_ports(struct __sk_buff *skb, struct tuple *t)
{
	struct udphdr *ports;
	__u8 protocol;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl != 5 ||
		    ip->frag_off & bpf_htons(IP_FRAGMENT_MORE | IP_FRAGMENT_OFFSET))
			return false;
		protocol = ip->protocol;
		ports = packet_header(skb, ETH_HLEN + sizeof(*ip), sizeof(*ports));
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip || ip->version != 6) return false;
		protocol = ip->nexthdr;
		ports = packet_header(skb, ETH_HLEN + sizeof(*ip), sizeof(*ports));
	}
	if (!ports || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)) return false;
	t->source_port = ports->source;
	t->destination_port = ports->dest;
	*(__u32 *)&t->protocol = protocol; /* and the pad */
	return true;
}

enum between { BETWEEN_UNKNOWN = 0, BETWEEN_STACKS = 1, BETWEEN_TUNNEL = 2 };

static __always_inline bool between_is_tunnel(const struct tuple *t)
{
	return self()->tunnel_mode == TUNNEL_VXLAN && t->protocol == IPPROTO_UDP &&
	       t->destination_port == self()->tunnel_port;
}

static __always_inline enum between received_between_nodes(struct __sk_buff *skb, id64 *sender)
{
	const struct node *node;
	ALIGNED struct tuple t;

	if (!between_addresses(skb, &t) || !self_has(&t.destination)) return BETWEEN_UNKNOWN;
	node = node_of(&t.source);
	if (!node || node->flags & NODE_OWN || !between_ports(skb, &t)) return BETWEEN_UNKNOWN;
	if (!between_is_tunnel(&t)) return translation_find(&t) ? BETWEEN_UNKNOWN : BETWEEN_STACKS;
	*sender = node->node;
	return BETWEEN_TUNNEL;
}

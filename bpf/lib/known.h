/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The short way: a plain packet of a flow that this CPU has seen lately goes where the last one
 * went. Nothing of it is judged, translated or told here.
 *
 * forward_known: REDIRECT, or NEXT: the long way, on which the same flow ends in the same place.
 * `tunnel_node` is the node that sent it here in the tunnel, or 0. */
#pragma once
#include "forward.h"
#include "plain.h"
#include "seen.h"

static __always_inline enum verdict forward_known_to_node(struct __sk_buff *skb, const struct tuple *t,
							  const struct flow_seen *seen)
{
	const struct nexthop *nexthop = nexthop_of(seen->node_out, address_is_ipv4(&t->source) ? 4 : 6);

	if (!nexthop || hop_limit_decrement(skb) == DROP) return NEXT;
	return send_to_node(skb, t, nexthop) == DROP ? NEXT : REDIRECT;
}

static __always_inline enum verdict forward_known(struct __sk_buff *skb, id64 tunnel_node)
{
	const struct flow_seen *seen;
	ALIGNED struct tuple t;

	if (skb->vlan_present || skb->len > MTU_ALWAYS_FITS) return NEXT;
	if (!plain_addresses(skb, &t) || !plain_ports(skb, &t)) return NEXT;
	if (!plain_may_hop(skb) || plain_is_syn(skb, &t)) return NEXT;
	seen = flow_seen_slot(&t);
	if (!seen || !flow_is_seen(seen, &t, skb->ifindex, tunnel_node)) return NEXT;
	if (seen->destination == TO_NODE) return forward_known_to_node(skb, &t, seen);
	if (seen->destination != TO_ENDPOINT || hop_limit_decrement(skb) == DROP) return NEXT;
	bpf_redirect_peer(seen->ifindex_out, 0);
	return REDIRECT;
}

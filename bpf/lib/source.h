/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A source address is proven before anything is looked up by it, since classes go
 * by address. NEXT: proven. */
#pragma once
#include "route.h"

/* From a pod: only the endpoint's own addresses. DROP_SOURCE. */
static __always_inline enum verdict source_of_pod(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *endpoint = endpoint_of(&p->tuple.source);

	if (!endpoint || endpoint->ifindex != skb->ifindex) return drop(p, DROP_SOURCE);
	return NEXT;
}

/* Outside the tunnel: no address of this node, its pods or a Service, and no
 * pod's at all in VXLAN mode. DROP_BARE_SOURCE. */
__noinline int source_bare(struct packet *p)
{
	const struct route *route;

	if (!p) return DROP;
	if (self_has(&p->tuple.source)) return drop(p, DROP_BARE_SOURCE);
	if (node_of(&p->tuple.source)) return NEXT;
	route = route_of(&p->tuple.source);
	if (!route) return NEXT;
	if (route->kind == ROUTE_PODS && self()->tunnel_mode == TUNNEL_NONE) return NEXT;
	return drop(p, DROP_BARE_SOURCE);
}

/* From this node's stack into a pod: its own address, one of a pod that the packet came
 * from, and in VXLAN mode one of another node's pods, whose tunnel ends at the uplink;
 * iptables may have changed the destination since. DROP_BARE_SOURCE. */
static __always_inline enum verdict source_of_stack(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint *endpoint;
	const struct route *route;

	if (self_has(&p->tuple.source)) return NEXT;
	endpoint = endpoint_of(&p->tuple.source);
	if (endpoint && endpoint->ifindex == skb->ingress_ifindex) return NEXT;
	if (self()->tunnel_mode == TUNNEL_VXLAN && skb->ingress_ifindex == self()->uplink) {
		route = route_of(&p->tuple.source);
		if (route && route->kind == ROUTE_PODS) return NEXT;
	}
	return source_bare(p);
}

/* Inside the tunnel: an address of the node that sent the outer packet
 * (packet.tunnel_node) or of its pods. DROP_TUNNEL_INNER. */
__noinline int source_tunnelled(struct packet *p)
{
	const struct route *route;
	const struct node *node;

	if (!p) return DROP;
	node = node_of(&p->tuple.source);
	if (node) return node->node == p->tunnel_node ? NEXT : drop(p, DROP_TUNNEL_INNER);
	route = route_of(&p->tuple.source);
	if (route && route->kind == ROUTE_PODS && route->node == p->tunnel_node) return NEXT;
	return drop(p, DROP_TUNNEL_INNER);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Where a packet goes, by its destination after DNAT. Fills packet.destination and
 * what belongs to it; never decides: forward.h acts after policy has spoken.
 *
 *   a local pod           TO_ENDPOINT   ifindex_out
 *   own node's address    TO_STACK
 *   another node's, or an address of its pod CIDR
 *                         TO_NODE       node_out
 *   own pod CIDR          TO_NOBODY     DROP_NO_ENDPOINT
 *   Service CIDR          TO_NOBODY     DROP_NO_PORT of a Service's address, else
 *                                       DROP_NO_FRONTEND
 *   a node's tunnel port  TO_NOBODY     DROP_TUNNEL_FORGED (UDP, where there are tunnels)
 *   anything else         TO_WORLD */
#pragma once
#include "../abi/endpoint.h"
#include "../abi/route.h"
#include "node.h"
#include "packet.h"
#include "service.h"

/* Keys are copied to the stack: Linux 6.1 takes no key from the memory that a global
 * function is given. */
static __always_inline const struct endpoint *endpoint_of(const struct address *a)
{
	ALIGNED struct endpoint_key key;

	address_copy(&key.address, a);
	return bpf_map_lookup_elem(&endpoints, &key);
}

static __always_inline const struct node *node_of(const struct address *a)
{
	ALIGNED struct node_key key;

	address_copy(&key.address, a);
	return bpf_map_lookup_elem(&nodes, &key);
}

static __always_inline const struct route *route_of(const struct address *a)
{
	struct prefix prefix;

	address_to_prefix(&prefix, a);
	return bpf_map_lookup_elem(&routes, &prefix);
}

/* A pod's or a node's. */
__noinline int source_is_inside(struct packet *p)
{
	return p && (node_of(&p->tuple.source) || route_of(&p->tuple.source));
}

static __always_inline enum verdict route_nobody(struct packet *p, enum drop_reason reason)
{
	p->destination = TO_NOBODY;
	p->unreachable = reason;
	return NEXT;
}

static __always_inline enum verdict route_node(struct packet *p, id64 node)
{
	p->destination = TO_NODE;
	p->node_out = node;
	return NEXT;
}

static __always_inline bool route_is_tunnel_port(const struct packet *p)
{
	return self_has_tunnel() && p->tuple.protocol == IPPROTO_UDP &&
	       p->tuple.destination_port == self()->tunnel_port;
}

__noinline int route_lookup(struct packet *p)
{
	const struct endpoint *endpoint;
	const struct route *route;
	const struct node *node;

	if (!p) return DROP;
	endpoint = endpoint_of(&p->tuple.destination);
	if (endpoint) {
		p->destination = TO_ENDPOINT;
		p->ifindex_out = endpoint->ifindex;
		return NEXT;
	}
	node = node_of(&p->tuple.destination);
	if (node) {
		if (route_is_tunnel_port(p)) return route_nobody(p, DROP_TUNNEL_FORGED);
		if (!(node->flags & NODE_OWN)) return route_node(p, node->node);
		p->destination = TO_STACK;
		return NEXT;
	}
	route = route_of(&p->tuple.destination);
	if (!route) {
		p->destination = TO_WORLD;
		return NEXT;
	}
	if (route->kind == ROUTE_PODS) return route_node(p, route->node);
	if (route->kind == ROUTE_OWN_PODS) return route_nobody(p, DROP_NO_ENDPOINT);
	return route_nobody(p, service_has(&p->tuple.destination) ? DROP_NO_PORT : DROP_NO_FRONTEND);
}

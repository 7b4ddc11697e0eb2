/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* routes: longest prefix -> who owns an address of the cluster. A miss is the
 * world. nodes: exact node addresses. nexthops: how to reach a node, per family.
 * Writer: the agent. Readers: lib/route.h, lib/tunnel.h, trace. */
#pragma once
#include "address.h"

enum route_kind {
	ROUTE_OWN_PODS = 1, /* this node's pod CIDR: an endpoint or nobody */
	ROUTE_PODS = 2,     /* another node's pod CIDR */
	ROUTE_SERVICES = 3, /* the Service CIDR: a frontend or nobody */
};

enum route_flags {
	ROUTE_DSR = 1 << 0, /* that node's programs take what lib/dsr.h sends */
};

struct route {
	__u32 kind;  /* enum route_kind */
	__u32 flags; /* enum route_flags */
	id64 node;   /* owner; 0 for ROUTE_SERVICES */
};
_Static_assert(sizeof(struct route) == 16, "route");

enum node_flags { NODE_OWN = 1 << 0 };

struct node_key {
	struct address address;
};
_Static_assert(sizeof(struct node_key) == 16, "node_key");

struct node {
	id64 node;
	__u32 flags; /* enum node_flags */
	__u32 pad;
};
_Static_assert(sizeof(struct node) == 16, "node");

struct nexthop_key {
	id64 node;
	__u32 family; /* 4 or 6 */
	__u32 pad;
};
_Static_assert(sizeof(struct nexthop_key) == 16, "nexthop_key");

struct nexthop {
	struct address gateway; /* on the uplink's link: the node itself or a router before it */
	struct address tunnel;  /* outer destination: the node's address of this family */
	__u32 ifindex;          /* uplink */
	__u32 pad;
};
_Static_assert(sizeof(struct nexthop) == 40, "nexthop");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct route);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct node_key);
	__type(value, struct node);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct nexthop_key);
	__type(value, struct nexthop);
} nexthops SEC(".maps");
#endif

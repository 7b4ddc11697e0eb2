/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* endpoints: the pods of this node, one entry per address.
 * Writer: the agent. Readers: from_pod (proves the source), to_pod, from_netdev,
 * to_netdev (delivers), trace.
 * endpoint_cookies: the same pods by the cookie of their network namespace, for
 * socket hooks, which see no address before bind. Writer: the agent. */
#pragma once
#include "address.h"

/* Levels that a policy set uses, so that unused ones cost no lookup (policy.h). */
enum policy_levels {
	LEVEL_CLASS = 1 << 0,
	LEVEL_REALM = 1 << 1,
	LEVEL_ANY = 1 << 2,
};

struct endpoint_key {
	struct address address;
};
_Static_assert(sizeof(struct endpoint_key) == 16, "endpoint_key");

struct endpoint {
	__u64 netns_cookie;
	id64 egress_set;                    /* 0: no policy isolates egress, everything may leave */
	id64 ingress_set;                   /* 0: no policy isolates ingress */
	__u32 ifindex;                      /* host side of the veth */
	__u8 egress_levels, ingress_levels; /* enum policy_levels */
	__u8 isolated; /* 1: policy not known yet; only own host may reach it, nothing may leave */
	__u8 pad;
	id64 pod; /* id of the pod's name, for events; equal for all its addresses */
	__u8 spare[8];
};
_Static_assert(sizeof(struct endpoint) == 48, "endpoint");

struct endpoint_cookie_key {
	__u64 netns_cookie;
};
_Static_assert(sizeof(struct endpoint_cookie_key) == 8, "endpoint_cookie_key");

struct endpoint_addresses {
	struct address ipv4, ipv6; /* all zero where the pod has none */
};
_Static_assert(sizeof(struct endpoint_addresses) == 32, "endpoint_addresses");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct endpoint_cookie_key);
	__type(value, struct endpoint_addresses);
} endpoint_cookie SEC(".maps");
#endif

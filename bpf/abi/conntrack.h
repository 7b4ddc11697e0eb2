/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Conntrack: one entry per flow on this node, keyed by the tuple after DNAT and
 * before SNAT, in canonical order (lower address first, then lower port);
 * orientation is in the value.
 *
 *   flows_opening (small LRU) --first reply--> flows (LRU)
 *
 * so that a SYN flood evicts only its own kind. Writer: lib/conntrack.h.
 * Readers: the agent, trace. Keys are compared as memory: every pad byte is 0. */
#pragma once
#include "address.h"

struct flow_key {
	struct address low, high;
	__be16 low_port, high_port; /* ICMP echo: the id, and 0 */
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow_key) == 40, "flow_key");

enum flow_flags {
	FLOW_ORIGIN_HIGH = 1 << 0, /* the originator is the higher end */
	FLOW_REPLIED = 1 << 1,
	/* bits 2 and 3 were FINs of both ends, which nobody asked for */
	FLOW_TRANSLATED = 1 << 4, /* translations (nat.h) holds this flow */
	FLOW_BY_STACK = 1 << 5,   /* the node's stack sends on what the originator sends */
};

/* How a packet of one direction leaves; index 0: from low to high. */
struct flow_side {
	__u32 ifindex_in;  /* where this direction was proven to enter; 0: not seen yet;
			    * bit 31: the node's stack sent it into this veth */
	__u32 ifindex_out; /* local pod's veth or the uplink; 0: the stack decides */
	id64 node;         /* nexthop's node; 0: local */
};
_Static_assert(sizeof(struct flow_side) == 16, "flow_side");

struct flow {
	__u64 seen_ns; /* coarse monotonic, written at most once a second */
	__u32 epoch;   /* policy epoch that was read before the verdict */
	__u32 flags;   /* enum flow_flags */
	struct flow_side side[2];
	__u8 spare[8];
};
_Static_assert(sizeof(struct flow) == 56, "flow");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows_opening SEC(".maps");
#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The last known flows of each CPU, found by the packet's own tuple without a hash table. An
 * entry is as good as the flow's for its epoch, until the flow's time is to be written again:
 * a second at most. What changes a flow otherwise (a SYN, another way through the stack) is
 * packets that do not come here, and matters to policy only with a new epoch. A flow that a
 * Service begins to translate is forgotten on every CPU. One that is just entering it, between
 * the look at the flow and the write, may know it for that second: a few ns, in which the same
 * client must have asked both ways. (A count that every packet compares is one more cold line,
 * 3 % of a UDP transaction.) */
#pragma once
#include "../abi/conntrack.h"
#include "clock.h"
#include "epoch.h"
#include "idle.h"
#include "node.h"
#include "packet.h"
#include "tuple.h"

#define FLOWS_SEEN_BITS 9
#define CPUS_MAX 8192 /* CONFIG_NR_CPUS at most */

struct flow_seen {
	struct tuple tuple;
	__u32 ifindex_in;
	__u32 epoch;
	id64 tunnel_node;
	__u64 until_ns;
	id64 node_out;
	__u32 ifindex_out;
	__u8 destination;
	__u8 pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << FLOWS_SEEN_BITS);
	__type(key, __u32);
	__type(value, struct flow_seen);
} flows_seen SEC(".maps");

/* By factors that nobody else knows, or a pod could choose a tuple that has another's slot. */
static __always_inline __u32 flow_seen_index(const struct tuple *t)
{
	const __u64 *seed = self()->seed;
	__u64 mixed = address_word(&t->source, 0) * seed[0] ^ address_word(&t->source, 1) * seed[1];

	mixed ^= address_word(&t->destination, 0) * seed[2] ^ address_word(&t->destination, 1) * seed[3];
	mixed ^= (__u64)t->source_port << 32 ^ (__u64)t->destination_port << 16;
	return mixed * 0x9e3779b97f4a7c15 >> (64 - FLOWS_SEEN_BITS); /* Knuth, TAOCP 6.4 */
}

static __always_inline struct flow_seen *flow_seen_slot(const struct tuple *t)
{
	__u32 index = flow_seen_index(t);

	return bpf_map_lookup_elem(&flows_seen, &index);
}

static __always_inline bool flow_is_seen(const struct flow_seen *seen, const struct tuple *t,
					 __u32 ifindex_in, id64 tunnel_node)
{
	return tuple_equal(&seen->tuple, t) && seen->ifindex_in == ifindex_in &&
	       seen->epoch == epoch_current() && seen->tunnel_node == tunnel_node &&
	       (__s64)(seen->until_ns - clock_ns()) > 0;
}

static __always_inline void flow_see(struct flow_seen *seen, const struct packet *p, __u32 ifindex_in,
				     const struct flow *flow)
{
	tuple_copy(&seen->tuple, &p->tuple);
	seen->ifindex_in = ifindex_in;
	seen->epoch = flow->epoch;
	seen->tunnel_node = p->tunnel_node;
	seen->until_ns = flow->seen_ns + SECOND_NS;
	seen->node_out = p->node_out;
	seen->ifindex_out = p->ifindex_out;
	seen->destination = p->destination;
}

struct flow_unseen {
	__u32 index, index_back;
};

static long flow_unsee_on(__u32 cpu, struct flow_unseen *flow)
{
	struct flow_seen *seen = bpf_map_lookup_percpu_elem(&flows_seen, &flow->index, cpu);
	struct flow_seen *back = bpf_map_lookup_percpu_elem(&flows_seen, &flow->index_back, cpu);

	if (!seen || !back) return 1; /* there are no more CPUs */
	seen->until_ns = 0;
	back->until_ns = 0;
	return 0;
}

/* Both ways, on every CPU, whatever flow has the slot now. */
__noinline int flow_unsee(struct packet *p)
{
	struct flow_unseen flow;
	ALIGNED struct tuple back;

	if (!p) return DROP;
	tuple_reverse(&back, &p->tuple);
	flow.index = flow_seen_index(&p->tuple);
	flow.index_back = flow_seen_index(&back);
	bpf_loop(CPUS_MAX, flow_unsee_on, &flow, 0);
	return NEXT;
}

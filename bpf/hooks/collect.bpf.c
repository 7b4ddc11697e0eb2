/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Deletes idle translations, with the agent or without it: one test run starts a
 * timer that lives as long as its map is pinned. A run while it goes on restarts it
 * with this program's callback. The two entries of a translation go together, once
 * both are idle. In nat_opening nothing has been answered, or it is not used any more. */
#include "../lib/idle.h"
#include "../lib/node.h" /* the loader sets the configuration of every object */
#include "../lib/tuple.h"

#define COLLECT_EVERY_NS (10 * SECOND_NS)

struct collector {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct collector);
} collector SEC(".maps");

struct round {
	__u64 now;
	bool opening;
};

static __always_inline bool is_idle(const struct translation *t, __u32 flags, const struct round *round)
{
	bool opening = round->opening || !(flags & TRANSLATION_REPLIED) || flags & TRANSLATION_CLOSING;

	return (__s64)(round->now - t->seen_ns) > (__s64)idle_limit_ns(t->to.protocol, opening);
}

static long collect_one(void *map, struct tuple *key, struct translation *t, struct round *round)
{
	ALIGNED struct tuple answer;
	struct translation *other;
	__u32 flags = t->flags;

	tuple_reverse(&answer, &t->to);
	other = bpf_map_lookup_elem(map, &answer);
	if (other) flags |= other->flags;
	if (!is_idle(t, flags, round) || (other && !is_idle(other, flags, round))) return 0;
	bpf_map_delete_elem(map, &answer);
	bpf_map_delete_elem(map, key);
	return 0;
}

static int collect_all(void *map, __u32 *key, struct collector *c)
{
	struct round answered = { .now = bpf_ktime_get_coarse_ns() };
	struct round opening = { .now = answered.now, .opening = true };

	bpf_for_each_map_elem(&translations, collect_one, &answered, 0);
	bpf_for_each_map_elem(&nat_opening, collect_one, &opening, 0);
	bpf_timer_start(&c->timer, COLLECT_EVERY_NS, 0);
	return 0;
}

SEC("tc")
int collect(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct collector *c = bpf_map_lookup_elem(&collector, &zero);

	if (!c) return TC_ACT_SHOT;
	bpf_timer_init(&c->timer, &collector, CLOCK_MONOTONIC); /* fails where it already is */
	if (bpf_timer_set_callback(&c->timer, collect_all)) return TC_ACT_SHOT;
	return bpf_timer_start(&c->timer, 0, 0) ? TC_ACT_SHOT : TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

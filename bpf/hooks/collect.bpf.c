/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Deletes idle translations, with the agent or without it: one test run starts a
 * timer that lives as long as its map is pinned. A run while it goes on restarts it
 * with this program's callback. The two entries of a translation go together, once
 * both are idle. */
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

/* Where no answers are seen, the client's ACK says that there was one. */
static __always_inline bool is_answered(__u32 flags)
{
	return flags & TRANSLATION_DSR ? !(flags & TRANSLATION_OPENING) : flags & TRANSLATION_REPLIED;
}

static __always_inline bool is_idle(const struct translation *t, __u32 flags, __u64 now)
{
	bool opening = !is_answered(flags) || flags & TRANSLATION_CLOSING;

	return (__s64)(now - t->seen_ns) > (__s64)idle_limit_ns(t->to.protocol, opening);
}

static long collect_one(void *map, struct tuple *key, struct translation *t, __u64 *now)
{
	ALIGNED struct tuple answer;
	struct translation *other;
	__u32 flags = t->flags;

	tuple_reverse(&answer, &t->to);
	other = bpf_map_lookup_elem(&translations, &answer);
	if (other) flags |= other->flags;
	if (!is_idle(t, flags, *now) || (other && !is_idle(other, flags, *now))) return 0;
	bpf_map_delete_elem(&translations, &answer);
	bpf_map_delete_elem(&translations, key);
	return 0;
}

static int collect_all(void *map, __u32 *key, struct collector *c)
{
	__u64 now = bpf_ktime_get_coarse_ns();

	bpf_for_each_map_elem(&translations, collect_one, &now, 0);
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

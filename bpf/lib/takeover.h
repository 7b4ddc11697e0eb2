/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One version of Heddle takes over from another whose `translations` has another size
 * or layout. What the other's programs entered after their map was copied, and before
 * the last of them was replaced, moves with its first packet. The loader sets
 * taking_over and gives the other's map as previous_nat, until a second copy is done
 * (src/kernel/loader.ts); otherwise the verifier leaves all of this out. */
#pragma once
#include "../abi/nat.h"

const volatile bool taking_over;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tuple);
	__type(value, struct translation);
} previous_nat SEC(".maps");

static __always_inline struct translation *translation_find(const struct tuple *key)
{
	struct translation *found = bpf_map_lookup_elem(&translations, key);
	const struct translation *previous;

	if (found || !taking_over) return found;
	previous = bpf_map_lookup_elem(&previous_nat, key);
	if (!previous) return NULL;
	bpf_map_update_elem(&translations, key, previous, BPF_NOEXIST);
	return bpf_map_lookup_elem(&translations, key);
}

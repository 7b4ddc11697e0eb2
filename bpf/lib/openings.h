/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Half-open TCP connections in `translations`: entered by a SYN whose client has sent no ACK (a
 * backend answers a forged SYN too). They give way where there is no room, the oldest first, but
 * for the host's own.
 *
 * opening_note        the forward key of one that is new
 * opening_give_up     true: two entries are free now. It looks at OPENING_TRIES keys at most.
 * opening_end_owner   true: the port that packet.to has chosen is free now. Its owner has had
 *                     OPENING_GRACE_NS, in which a connection opens.
 *
 * Of two CPUs that end the same connection one goes on: who deletes its forward entry. */
#pragma once
#include "../abi/nat.h"
#include "clock.h"
#include "idle.h" /* SECOND_NS */
#include "packet.h"
#include "tuple.h"

#define OPENING_TRIES 16
#define OPENING_GRACE_NS (SECOND_NS / 4)

static __always_inline struct opening_ends *opening_ends_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&opening_ends, &zero);
}

static __always_inline struct tuple *opening_slot(__u64 number)
{
	__u32 slot = number % OPENINGS;

	return bpf_map_lookup_elem(&openings, &slot);
}

static __always_inline void opening_note(const struct tuple *key)
{
	struct opening_ends *ends = opening_ends_get();
	struct tuple *slot = ends ? opening_slot(__sync_fetch_and_add(&ends->newest, 1)) : NULL;

	if (slot) tuple_copy(slot, key);
}

static __always_inline bool opening_end(const struct tuple *slot)
{
	const struct translation *t;
	ALIGNED struct tuple key, back, answer;

	tuple_copy(&key, slot);
	t = bpf_map_lookup_elem(&translations, &key);
	if (!t || !(t->flags & TRANSLATION_OPENING) || t->flags & TRANSLATION_HOST) return false;
	tuple_reverse(&answer, &t->to);
	if (bpf_map_delete_elem(&translations, &key)) return false;
	tuple_reverse(&back, &key);
	t = bpf_map_lookup_elem(&translations, &answer);
	if (t && tuple_equal(&t->to, &back)) bpf_map_delete_elem(&translations, &answer);
	return true;
}

__noinline int opening_give_up(void)
{
	struct opening_ends *ends = opening_ends_get();
	const struct tuple *slot;

	if (!ends) return false;
	if (ends->newest - ends->oldest > OPENINGS) ends->oldest = ends->newest - OPENINGS;
	for (int try = 0; try < OPENING_TRIES && ends->oldest != ends->newest; try++) {
		slot = opening_slot(__sync_fetch_and_add(&ends->oldest, 1));
		if (slot && opening_end(slot)) return true;
	}
	return false;
}

__noinline int opening_end_owner(struct packet *p)
{
	const struct translation *owner;
	ALIGNED struct tuple answer, key;

	if (!p) return false;
	tuple_reverse(&answer, &p->to);
	owner = bpf_map_lookup_elem(&translations, &answer);
	if (!owner || !(owner->flags & TRANSLATION_REVERSE)) return false;
	if ((__s64)(clock_ns() - owner->seen_ns) < (__s64)OPENING_GRACE_NS) return false;
	tuple_reverse(&key, &owner->to);
	return opening_end(&key);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Counting and telling. Nothing but observation depends on an event: one that finds
 * the ring full is counted under DROP_EVENT_LOST and forgotten. */
#pragma once
#include "../abi/event.h"

static __always_inline void drops_add(enum drop_reason reason, __u32 bytes)
{
	__u32 key = reason;
	struct drop_count *count = bpf_map_lookup_elem(&drops, &key);

	if (!count) return;
	count->packets++;
	count->bytes += bytes;
}

/* Room for an event, or NULL, which is counted. */
static __always_inline struct event *event_reserve(void)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) drops_add(DROP_EVENT_LOST, 0);
	return event;
}

/* The kernel wakes the reader where this is the record that it waits for
 * (kernel/bpf/ringbuf.c bpf_ringbuf_commit): it drains what it finds. */
static __always_inline void event_submit(struct event *event)
{
	bpf_ringbuf_submit(event, 0);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Coarse monotonic time, exact to a tick. bpf_ktime_get_coarse_ns costs as much as
 * a hash lookup (18 ns where it was measured), jiffies are one load: so the time is
 * read once a tick and kept. The kept time is written before its tick, so that no
 * CPU takes an old time for the tick's. */
#pragma once
#include "../kernel_types.h"
#include <bpf/bpf_helpers.h>

static volatile __u64 clock_tick, clock_kept_ns;

static __always_inline __u64 clock_ns(void)
{
	__u64 tick = bpf_jiffies64();

	if (clock_tick != tick) {
		clock_kept_ns = bpf_ktime_get_coarse_ns();
		__sync_lock_test_and_set(&clock_tick, tick);
	}
	return clock_kept_ns;
}

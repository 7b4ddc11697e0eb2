/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How long a flow or a translation may be silent before it counts as gone. */
#pragma once
#include "../kernel_types.h"
#include <bpf/bpf_helpers.h>

#define SECOND_NS 1000000000ULL
#define IDLE_TCP_OPENING_NS (60 * SECOND_NS) /* not answered yet, or closing */
#define IDLE_TCP_NS (6 * 3600 * SECOND_NS)
#define IDLE_OTHER_NS (120 * SECOND_NS)

static __always_inline __u64 idle_limit_ns(__u8 protocol, bool opening)
{
	if (protocol != IPPROTO_TCP) return IDLE_OTHER_NS;
	return opening ? IDLE_TCP_OPENING_NS : IDLE_TCP_NS;
}

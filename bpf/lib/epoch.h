/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The policy epoch: what was decided under another one must be decided again. */
#pragma once
#include "../abi/policy.h"

static __always_inline __u32 epoch_current(void)
{
	__u32 zero = 0;
	const struct policy_epoch *epoch = bpf_map_lookup_elem(&policy_epoch, &zero);

	return epoch ? epoch->epoch : 0;
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services: which frontend an address, port and protocol is, and one of its
 * backends at random. A list is complete before a frontend names it, so a missing
 * slot means that the list has just been replaced. */
#pragma once
#include "../abi/service.h"
#include "address.h"

static __always_inline const struct frontend *service_frontend(const struct address *a, __be16 port,
							       __u8 protocol)
{
	ALIGNED struct frontend_key key = { .port = port, .protocol = protocol };

	address_copy(&key.address, a);
	return bpf_map_lookup_elem(&frontends, &key);
}

/* NULL where the Service has no endpoints. */
static __always_inline const struct backend *service_choose(const struct frontend *frontend)
{
	struct backend_key key = { .backend_list = frontend->backend_list };

	if (!frontend->count) return NULL;
	key.slot = bpf_get_prandom_u32() % frontend->count;
	return bpf_map_lookup_elem(&backends, &key);
}

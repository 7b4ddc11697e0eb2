/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* This node, as the loader set it. */
#pragma once
#include "../abi/config.h"
#include "address.h"

const volatile struct node_config config;

/* The configuration without `volatile`, which would read addresses byte by byte;
 * the barrier keeps the compiler from taking the zeros above for the values. */
static __always_inline const struct node_config *self(void)
{
	const struct node_config *c = (const struct node_config *)&config;

	barrier_var(c);
	return c;
}

/* Do other nodes send to the tunnel port? In native mode only what lib/dsr.h states. */
static __always_inline bool self_has_tunnel(void)
{
	return self()->tunnel_mode == TUNNEL_VXLAN || self()->dsr;
}

static __always_inline bool self_has(const struct address *a)
{
	const struct node_config *c = self();

	if (address_is_ipv4(a)) return address_equal(a, &c->ipv4);
	return address_equal(a, &c->ipv6) && !address_is_zero(a);
}

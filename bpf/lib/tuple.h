/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Tuples as keys: every byte is set, and each lies on a multiple of 8 bytes. */
#pragma once
#include "../abi/nat.h"
#include "address.h"

static __always_inline void tuple_copy(struct tuple *to, const struct tuple *from)
{
	COPY_ALIGNED(to, from, sizeof(*to), 8);
}

/* The tuple of an answer. */
static __always_inline void tuple_reverse(struct tuple *to, const struct tuple *from)
{
	address_copy(&to->source, &from->destination);
	address_copy(&to->destination, &from->source);
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
	*(__u32 *)&to->protocol = from->protocol; /* and the pad */
}

static __always_inline bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
	return address_equal(&a->source, &b->source) && address_equal(&a->destination, &b->destination) &&
	       a->source_port == b->source_port && a->destination_port == b->destination_port &&
	       a->protocol == b->protocol;
}

static __always_inline bool protocol_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

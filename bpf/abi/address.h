/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The address of every table: 128 bits, network order. IPv4 lives as
 * ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so one path serves both families.
 * No table holds an IPv6 prefix that covers ::ffff:0:0/96 without also holding
 * that /96 with IPv4's own value; lib/parse.h drops IPv6 packets that carry a
 * mapped address. Keys are compared as memory: every pad byte is 0. */
#pragma once

#ifdef __bpf__ /* tables exist only in programs; elsewhere these headers are layout */
#include "../kernel_types.h"
#include <bpf/bpf_helpers.h>
#else
#include <linux/types.h>
#endif

struct address {
	__u8 bytes[16];
};
_Static_assert(sizeof(struct address) == 16, "address");

/* Key of every longest-prefix table over addresses. An IPv4 /24 has length 120. */
struct prefix {
	__u32 length; /* bits */
	struct address address;
};
_Static_assert(sizeof(struct prefix) == 20, "prefix");

/* Every id that the agent gives (class, policy set, rule, node, backend list)
 * is the first 64 bits, big-endian, of SHA-256 over the canonical text of what
 * it names; 0 means none. Equal state gives equal ids, also after a restart. */
typedef __u64 id64;

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* 128-bit addresses as two words. Contract: every address given here lies on a
 * multiple of 8 bytes (struct packet, struct tuple, table values), but for
 * address_to_prefix, whose target lies 4 bytes into its key. */
#pragma once
#include "../abi/address.h"

/* Copies without the byte-wise moves that an alignment of 1 would mean in BPF. */
#define COPY_ALIGNED(to, from, size, align)                                                                  \
	__builtin_memcpy(__builtin_assume_aligned((to), (align)), __builtin_assume_aligned((from), (align)), \
			 (size))

/* For a local that holds an address and would otherwise be aligned to less. */
#define ALIGNED __attribute__((aligned(8)))

static __always_inline __u64 address_word(const struct address *a, int word)
{
	return ((const __u64 *)__builtin_assume_aligned(a, 8))[word];
}

static __always_inline void address_copy(struct address *to, const struct address *from)
{
	COPY_ALIGNED(to, from, sizeof(*to), 8);
}

static __always_inline bool address_equal(const struct address *a, const struct address *b)
{
	return address_word(a, 0) == address_word(b, 0) && address_word(a, 1) == address_word(b, 1);
}

static __always_inline bool address_is_zero(const struct address *a)
{
	return !(address_word(a, 0) | address_word(a, 1));
}

/* Negative, zero or positive, as network byte order compares. */
static __always_inline int address_compare(const struct address *a, const struct address *b)
{
	__u64 x = address_word(a, 0), y = address_word(b, 0);

	if (x == y) {
		x = address_word(a, 1);
		y = address_word(b, 1);
		if (x == y) return 0;
	}
	return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
}

#define MAPPED_PREFIX __builtin_bswap32(0xffff) /* third word of ::ffff:0:0/96 */

static __always_inline __be32 address_ipv4(const struct address *a)
{
	return ((const __u32 *)__builtin_assume_aligned(a, 8))[3];
}

static __always_inline bool address_is_ipv4(const struct address *a)
{
	return !address_word(a, 0) && (__u32)address_word(a, 1) == MAPPED_PREFIX;
}

static __always_inline void address_from_ipv4(struct address *a, __be32 ipv4)
{
	__u64 *words = __builtin_assume_aligned(a, 8);

	words[0] = 0;
	words[1] = (__u64)ipv4 << 32 | MAPPED_PREFIX;
}

static __always_inline void address_from_ipv6(struct address *a, const struct in6_addr *ipv6)
{
	__u64 *words = __builtin_assume_aligned(a, 8);

	words[0] = (__u64)ipv6->u6_addr32[1] << 32 | ipv6->u6_addr32[0];
	words[1] = (__u64)ipv6->u6_addr32[3] << 32 | ipv6->u6_addr32[2];
}

/* Multicast of either family, and IPv4's limited broadcast. */
static __always_inline bool address_is_multicast(const struct address *a)
{
	if (address_is_ipv4(a)) return a->bytes[12] >= 224 && (a->bytes[12] < 240 || !~address_ipv4(a));
	return a->bytes[0] == 0xff;
}

static __always_inline bool address_is_loopback(const struct address *a)
{
	if (address_is_ipv4(a)) return a->bytes[12] == 127;
	return !address_word(a, 0) && address_word(a, 1) == __builtin_bswap64(1);
}

/* Multicast, broadcast, loopback, unspecified, and the networks that nobody is in (RFC 1812 5.3.7). */
static __always_inline bool address_is_no_host(const struct address *a)
{
	if (address_is_ipv4(a)) return !a->bytes[12] || a->bytes[12] == 127 || a->bytes[12] >= 224;
	return a->bytes[0] == 0xff || address_is_zero(a) || address_is_loopback(a);
}

/* fe80::/10 (RFC 4291 2.5.6); routers do not forward it. */
static __always_inline bool address_is_link_local(const struct address *a)
{
	return a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

/* The key that finds the longest prefix around an address. */
static __always_inline void address_to_prefix(struct prefix *prefix, const struct address *a)
{
	prefix->length = 128;
	COPY_ALIGNED(&prefix->address, a, sizeof(*a), 4);
}

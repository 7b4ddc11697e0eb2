/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One's complement arithmetic (RFC 1624) on what bpf_csum_diff returns, and where
 * checksums lie. */
#pragma once
#include "address.h"

/* From the start of the transport header. */
static __always_inline __u32 checksum_offset(__u8 protocol)
{
	if (protocol == IPPROTO_TCP) return 16;
	return protocol == IPPROTO_UDP ? 6 : 2;
}

static __always_inline __wsum checksum_add(__wsum a, __wsum b)
{
	a += b;
	return a + (a < b);
}

static __always_inline __u16 checksum_fold(__wsum sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

/* Of a header without options, whose own field is 0. */
static __always_inline __sum16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	return ~checksum_fold(sum);
}

/* The checksum field after a change of the data by `diff`. */
static __always_inline __sum16 checksum_apply(__sum16 checksum, __wsum diff)
{
	return ~checksum_fold(checksum_add((__u16)~checksum, diff));
}

/* An address as a header holds it: 1 word (IPv4) or 4. */
static __always_inline void address_to_words(__u32 *words, const struct address *a, int count)
{
	if (count == 1) {
		words[0] = address_ipv4(a);
		return;
	}
	COPY_ALIGNED(words, a, sizeof(*a), 4);
}

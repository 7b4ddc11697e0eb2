/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* SCTP's checksum after a change of its ports (CRC32c, RFC 9260 6.8 and appendix A). A CRC is linear over
 * GF(2): if 32 bits change that stand at the start of n summed bytes, it changes by (their difference) *
 * x^(8n) modulo the polynomial, whatever the other bytes are. Numbers are reflected: bit 31 is x^0.
 *
 * crc32c_shift: `change` times x^(8 * bytes). bytes < 65536. */
#pragma once
#include "../kernel_types.h"
#include <bpf/bpf_helpers.h>

#define CRC32C_POLYNOMIAL 0x82f63b78

/* [k][v] is x^(8 * v * 16^k). Computed anew, slowly, by test/packet/sctp.test.ts. */
static const __u32 crc32c_powers[4][16] = {
	{ 0x80000000, 0x00800000, 0x00008000, 0x00000080, 0x82f63b78, 0xfbc3faf9, 0x8b277743, 0x52a0c93f,
	  0x6ea2d55c, 0x1c08b7d6, 0xf56e0ef4, 0x34019664, 0xa66805eb, 0x7a1f6b24, 0xe75d06aa, 0xc94ec098 },
	{ 0x80000000, 0x18b8ea18, 0x510ac59a, 0xb2dea967, 0xb82be955, 0x36c41f1c, 0x19b29a35, 0xc9e90b9e,
	  0xb8fdb1e7, 0xe55ef1f3, 0x1fe0b5c3, 0xe0553f1e, 0x18e4a304, 0x2b830011, 0x56993a31, 0x0246e2e6 },
	{ 0x80000000, 0x88e56f72, 0x74c360a4, 0x631bb273, 0xe4172b16, 0x71892b1b, 0x835305c9, 0x196b1eae,
	  0x0d65762a, 0xafc81338, 0xb5a50ab7, 0xf373c3ac, 0x5f60970f, 0xd46d3063, 0x3a5275ea, 0x02331c01 },
	{ 0x80000000, 0x35d73a62, 0x28461564, 0x43eefc9f, 0xbf455269, 0x5edcdeb9, 0x65059450, 0x4e6f41a4,
	  0xe2ea32dc, 0xf5b95b32, 0x695a4c87, 0xf204502c, 0x9a4f01b6, 0x941a0916, 0x4303cb97, 0x4c3d3d65 },
};

/* Without branches, of which the verifier would follow each. */
static __always_inline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int bit = 31; bit >= 0; bit--) {
		product ^= b & -(a >> bit & 1);
		b = b >> 1 ^ (CRC32C_POLYNOMIAL & -(b & 1));
	}
	return product;
}

static __always_inline __u32 crc32c_shift(__u32 change, __u32 bytes)
{
	for (int digit = 0; digit < 4; digit++)
		change = crc32c_multiply(change, crc32c_powers[digit][bytes >> 4 * digit & 15]);
	return change;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The bare forwarder: the least eBPF that forwards. Where a packet goes is a constant: no lookup, no
 * state, no policy, no hop limit. bench/bare.ts compiles it for each hook with
 *   PROGRAM   the function below that the hook runs
 *   IFINDEX   device that it sends to
 *   NEXT_HOP, OWN   IPv4 addresses of the other node and of this one, network byte order */
#include "kernel_types.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "lib/checksum.h"

/* VXLAN, RFC 7348. The inner Ethernet header names only its type. */
struct outer {
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags, vni;
	__u8 inner_mac[2 * ETH_ALEN];
	__be16 inner_type;
	__u8 beyond[2]; /* not part of it */
};

#define ETH_HLEN 14
#define OUTER_BYTES (sizeof(struct outer) - 2)
_Static_assert(OUTER_BYTES == 50, "outer");

/* Empty. */
static inline int pass(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

static inline int to_pod(struct __sk_buff *skb)
{
	return bpf_redirect_peer(IFINDEX, 0);
}

static inline int to_node(struct __sk_buff *skb)
{
	struct bpf_redir_neigh neigh = { .nh_family = AF_INET, .ipv4_nh = NEXT_HOP };

	return bpf_redirect_neigh(IFINDEX, &neigh, sizeof(neigh), 0);
}

/* The length of a GSO packet may need more than 16 bits: nothing on this wire reads it. */
static inline void fill(struct outer *outer, __u32 length)
{
	outer->ip.tot_len = bpf_htons(length);
	outer->ip.check = ipv4_checksum(&outer->ip);
	outer->udp.len = bpf_htons(length - sizeof(outer->ip));
}

static inline int to_tunnel(struct __sk_buff *skb)
{
	const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 |
			    BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |
			    BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	struct outer outer = {
		.ip = { .version = 4,
			.ihl = 5,
			.frag_off = bpf_htons(0x4000),
			.ttl = 64,
			.protocol = IPPROTO_UDP,
			.saddr = OWN,
			.daddr = NEXT_HOP },
		.udp = { .source = bpf_htons(0xc000), .dest = bpf_htons(8472) },
		.flags = bpf_htonl(0x08000000),
		.vni = bpf_htonl(1 << 8),
		.inner_type = bpf_htons(ETH_P_IP),
	};

	fill(&outer, skb->len - ETH_HLEN + OUTER_BYTES);
	if (bpf_skb_adjust_room(skb, OUTER_BYTES, BPF_ADJ_ROOM_MAC, flags) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &outer, OUTER_BYTES, 0))
		return TC_ACT_SHOT;
	return to_node(skb);
}

static inline int from_tunnel(struct __sk_buff *skb)
{
	if (bpf_skb_adjust_room(skb, -(__s32)OUTER_BYTES, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	return to_pod(skb);
}

SEC("tc")
int bare(struct __sk_buff *skb)
{
	return PROGRAM(skb);
}

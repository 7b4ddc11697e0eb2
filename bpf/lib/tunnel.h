/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* VXLAN (RFC 7348) written by hand: the outer family is the inner one. Outer UDP
 * checksum 0 (RFC 6935 for IPv6), source port from the inner flow's hash, IPv4 DF
 * set, ECN by RFC 6040 normal mode, hop limit 64.
 *
 * tunnel_encapsulate: the packet keeps its Ethernet header, which becomes the
 * outer one. DROP_NONE or DROP_HEADER_WRITE.
 * tunnel_prove: for a packet whose outer headers are parsed: sets tunnel_node, or
 * DROP_TUNNEL_SOURCE.
 * tunnel_decapsulate: `offset` is the outer UDP header's. DROP_NONE: the inner packet
 * stands behind the Ethernet header and nothing of it is parsed. DROP_PARSE (no VXLAN
 * of ours), DROP_TUNNEL_ECN, DROP_HEADER_WRITE. */
#pragma once
#include "checksum.h"
#include "parse.h"
#include "route.h"

#define VXLAN_FLAG_VNI bpf_htonl(0x08000000)
#define TUNNEL_HOP_LIMIT 64
#define ECN_MASK 3
#define ECN_CE 3

/* What follows the outer IP header; the inner Ethernet header names only its type,
 * for at the other end only that is read. */
struct vxlan {
	struct udphdr udp;
	__be32 flags, vni;
	__u8 inner_mac[2 * ETH_ALEN];
	__be16 inner_type;
	__u8 beyond[2]; /* not part of it */
};
#define VXLAN_BYTES (sizeof(struct vxlan) - 2)

static __always_inline __u32 tunnel_overhead(__u8 family)
{
	return (family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + VXLAN_BYTES;
}

static __always_inline __u8 ipv6_traffic_class(const struct ipv6hdr *ip)
{
	return ip->priority << 4 | ip->flow_lbl[0] >> 4;
}

/* A length beyond 16 bits is a GSO packet's, whose segments get their own. Until then it is 0,
 * which the kernel reads as "all of it" (iph_totlen, v6.3); a bridge cuts off what is beyond
 * any other length. */
static __always_inline __be16 length16(__u32 length)
{
	return bpf_htons(length > 0xffff ? 0 : length);
}

/* `length` is the UDP datagram's. */
static __always_inline void tunnel_fill(struct vxlan *vxlan, __be16 inner_type, __be16 source_port,
					__u32 length)
{
	vxlan->udp.source = source_port;
	vxlan->udp.dest = self()->tunnel_port;
	vxlan->udp.len = length16(length);
	vxlan->flags = VXLAN_FLAG_VNI;
	vxlan->vni = bpf_htonl(self()->vni << 8);
	vxlan->inner_type = inner_type;
}

#define TUNNEL_ROOM_FLAGS                                                                                    \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |        \
	 BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/* A packet that came in the tunnel over a veth still says that it is in one, with its inner
 * headers where they are now: then there is nothing to say (net/core/filter.c
 * bpf_skb_net_grow, v6.1). */
static __always_inline long tunnel_make_room(struct __sk_buff *skb, __s32 bytes, __u64 encap_l3)
{
	long error = bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, TUNNEL_ROOM_FLAGS | encap_l3);

	if (error != -EALREADY) return error;
	return bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

static __always_inline long tunnel_wrap_ipv4(struct __sk_buff *skb, const struct address *to,
					     __be16 source_port, __u8 ecn, __be16 inner_type, __u32 beyond)
{
	__u32 length = skb->len - ETH_HLEN + VXLAN_BYTES + beyond;
	struct {
		struct iphdr ip;
		struct vxlan vxlan;
	} outer = { .ip = { .version = 4, .ihl = 5, .ttl = TUNNEL_HOP_LIMIT, .protocol = IPPROTO_UDP } };

	outer.ip.tos = ecn;
	outer.ip.tot_len = length16(length + sizeof(outer.ip));
	outer.ip.frag_off = bpf_htons(0x4000);
	outer.ip.saddr = address_ipv4(&self()->ipv4);
	outer.ip.daddr = address_ipv4(to);
	outer.ip.check = ipv4_checksum(&outer.ip);
	tunnel_fill(&outer.vxlan, inner_type, source_port, length);
	return tunnel_make_room(skb, tunnel_overhead(4) + beyond, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)
		   ?: bpf_skb_store_bytes(skb, ETH_HLEN, &outer, tunnel_overhead(4), 0);
}

static __always_inline long tunnel_wrap_ipv6(struct __sk_buff *skb, const struct address *to,
					     __be16 source_port, __u8 ecn, __be16 inner_type, __u32 beyond)
{
	__u32 length = skb->len - ETH_HLEN + VXLAN_BYTES + beyond;
	struct {
		struct ipv6hdr ip;
		struct vxlan vxlan;
	} outer = { .ip = { .version = 6, .nexthdr = IPPROTO_UDP, .hop_limit = TUNNEL_HOP_LIMIT } };

	outer.ip.flow_lbl[0] = ecn << 4;
	outer.ip.payload_len = length16(length);
	COPY_ALIGNED(&outer.ip.saddr, &self()->ipv6, sizeof(outer.ip.saddr), 4);
	COPY_ALIGNED(&outer.ip.daddr, to, sizeof(outer.ip.daddr), 4);
	tunnel_fill(&outer.vxlan, inner_type, source_port, length);
	return tunnel_make_room(skb, tunnel_overhead(6) + beyond, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
		   ?: bpf_skb_store_bytes(skb, ETH_HLEN, &outer, tunnel_overhead(6), 0);
}

static __always_inline __u8 tunnel_ecn(struct __sk_buff *skb)
{
	__u8 traffic_class;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		traffic_class = ip ? ip->tos : 0;
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		traffic_class = ip ? ipv6_traffic_class(ip) : 0;
	}
	return traffic_class & ECN_MASK;
}

/* Of the inner flow: the hash that its socket has, which TCP changes to try another path,
 * or else one of the tuple. The kernel's own would dissect each datagram again. */
static __always_inline __be16 tunnel_source_port(const struct __sk_buff *skb, const struct tuple *t)
{
	__u64 mixed = address_word(&t->source, 0) ^ address_word(&t->source, 1) * 3;
	__u32 hash = skb->hash;

	if (!hash) {
		mixed ^= address_word(&t->destination, 0) * 5 ^ address_word(&t->destination, 1) * 7;
		mixed ^= (__u64)t->source_port << 32 ^ (__u64)t->destination_port << 16 ^ t->protocol;
		hash = mixed * 0x9e3779b97f4a7c15 >> 40; /* Knuth, TAOCP 6.4: multiplicative hashing */
	}
	return bpf_htons(0xc000 | (hash & 0x3fff));
}

/* Writes by helpers only: a program that writes to packets directly pays for a
 * check of every packet, and most that to_netdev sees are left alone. `beyond`: bytes to leave
 * between the inner Ethernet header and the packet. */
static __always_inline enum drop_reason tunnel_wrap(struct __sk_buff *skb, const struct tuple *inner,
						    const struct address *to, __be16 inner_type, __u32 beyond)
{
	__be16 source_port = tunnel_source_port(skb, inner);
	__u8 ecn = tunnel_ecn(skb);

	if (skb->protocol == bpf_htons(ETH_P_IP)
		? tunnel_wrap_ipv4(skb, to, source_port, ecn, inner_type, beyond)
		: tunnel_wrap_ipv6(skb, to, source_port, ecn, inner_type, beyond))
		return DROP_HEADER_WRITE;
	return DROP_NONE;
}

__noinline int tunnel_encapsulate(struct __sk_buff *skb, const struct tuple *inner, const struct address *to)
{
	if (!inner || !to) return DROP_HEADER_WRITE;
	return tunnel_wrap(skb, inner, to, skb->protocol, 0);
}

/* Is this packet, parsed, sent to this node's tunnel port? */
static __always_inline bool tunnel_is_for_us(const struct packet *p)
{
	return self_has_tunnel() && p->tuple.protocol == IPPROTO_UDP &&
	       p->tuple.destination_port == self()->tunnel_port &&
	       !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT));
}

static __always_inline enum verdict tunnel_prove(struct packet *p)
{
	const struct node *node = node_of(&p->tuple.source);

	if (!node || node->flags & NODE_OWN) return drop(p, DROP_TUNNEL_SOURCE);
	p->tunnel_node = node->node;
	return NEXT;
}

/* `beyond`: bytes between the inner Ethernet header and the packet, which go too. */
static __always_inline enum drop_reason tunnel_unwrap(struct __sk_buff *skb, __u32 offset, __be16 inner_type,
						      __u32 beyond)
{
	struct vxlan *vxlan;
	bool congested;

	if (offset > TRANSPORT_OFFSET_MAX) return DROP_IP_OPTIONS;
	vxlan = packet_header(skb, offset, VXLAN_BYTES);
	if (!vxlan || vxlan->flags != VXLAN_FLAG_VNI || vxlan->vni != bpf_htonl(self()->vni << 8) ||
	    vxlan->inner_type != inner_type)
		return DROP_PARSE;
	congested = tunnel_ecn(skb) == ECN_CE;
	if (bpf_skb_adjust_room(skb, -(__s32)(offset - ETH_HLEN + VXLAN_BYTES + beyond), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO))
		return DROP_HEADER_WRITE;
	return congested && !bpf_skb_ecn_set_ce(skb) ? DROP_TUNNEL_ECN : DROP_NONE;
}

__noinline int tunnel_decapsulate(struct __sk_buff *skb, __u32 offset)
{
	if (self()->tunnel_mode != TUNNEL_VXLAN) return DROP_PARSE;
	return tunnel_unwrap(skb, offset, skb->protocol, 0);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* VXLAN (RFC 7348) written by hand: the outer family is the inner one. Outer UDP
 * checksum 0 (RFC 6935 for IPv6), source port from the inner flow's hash, IPv4 DF
 * set, ECN by RFC 6040 normal mode, hop limit 64.
 *
 * tunnel_encapsulate: the packet keeps its Ethernet header, which becomes the
 * outer one. DROP_HEADER_WRITE.
 * tunnel_decapsulate: for a packet whose outer headers are parsed. NEXT: the inner
 * packet stands behind the Ethernet header, PACKET_TUNNELLED and tunnel_node are
 * set, everything else of the packet is to be parsed again. DROP_TUNNEL_SOURCE,
 * DROP_PARSE (no VXLAN of ours), DROP_TUNNEL_ECN, DROP_HEADER_WRITE. */
#pragma once
#include "parse.h"
#include "route.h"

#define VXLAN_FLAG_VNI bpf_htonl(0x08000000)
#define TUNNEL_HOP_LIMIT 64
#define ECN_MASK 3
#define ECN_CE 3

struct vxlan {
	__be32 flags, vni;
	struct ethhdr inner;
} __attribute__((packed));

static __always_inline __u32 tunnel_overhead(__u8 family)
{
	return (family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + sizeof(struct udphdr) +
	       sizeof(struct vxlan);
}

static __always_inline __u8 ipv6_traffic_class(const struct ipv6hdr *ip)
{
	return ip->priority << 4 | ip->flow_lbl[0] >> 4;
}

static __always_inline __sum16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16));
}

/* A length beyond 16 bits is a GSO packet's: its segments get their own. */
static __always_inline __be16 length16(__u32 length)
{
	return bpf_htons(length > 0xffff ? 0xffff : length);
}

/* UDP and VXLAN headers; `length` is the UDP datagram's. */
static __always_inline void tunnel_fill(struct udphdr *udp, const struct ethhdr *ether, __be16 source_port,
					__u32 length)
{
	struct vxlan *vxlan = (void *)(udp + 1);

	udp->source = source_port;
	udp->dest = self()->tunnel_port;
	udp->len = length16(length);
	udp->check = 0;
	vxlan->flags = VXLAN_FLAG_VNI;
	vxlan->vni = bpf_htonl(self()->vni << 8);
	__builtin_memcpy(&vxlan->inner, ether, sizeof(*ether));
}

static __always_inline enum verdict tunnel_write_ipv4(struct __sk_buff *skb, struct packet *p,
						      const struct address *to, __be16 source_port, __u8 ecn,
						      __u32 length)
{
	struct ethhdr *ether = packet_header(skb, 0, ETH_HLEN + tunnel_overhead(4));
	struct iphdr *outer = (void *)(ether + 1);
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = TUNNEL_HOP_LIMIT, .protocol = IPPROTO_UDP };

	if (!ether) return drop(p, DROP_HEADER_WRITE);
	length += sizeof(struct udphdr) + sizeof(struct vxlan);
	ip.tos = ecn;
	ip.tot_len = length16(length + sizeof(ip));
	ip.frag_off = bpf_htons(0x4000);
	ip.saddr = address_ipv4(&self()->ipv4);
	ip.daddr = address_ipv4(to);
	ip.check = ipv4_checksum(&ip);
	*outer = ip;
	tunnel_fill((void *)(outer + 1), ether, source_port, length);
	return NEXT;
}

static __always_inline enum verdict tunnel_write_ipv6(struct __sk_buff *skb, struct packet *p,
						      const struct address *to, __be16 source_port, __u8 ecn,
						      __u32 length)
{
	struct ethhdr *ether = packet_header(skb, 0, ETH_HLEN + tunnel_overhead(6));
	struct ipv6hdr *outer = (void *)(ether + 1);

	if (!ether) return drop(p, DROP_HEADER_WRITE);
	length += sizeof(struct udphdr) + sizeof(struct vxlan);
	outer->version = 6;
	outer->priority = 0;
	outer->flow_lbl[0] = ecn << 4;
	outer->flow_lbl[1] = outer->flow_lbl[2] = 0;
	outer->payload_len = length16(length);
	outer->nexthdr = IPPROTO_UDP;
	outer->hop_limit = TUNNEL_HOP_LIMIT;
	__builtin_memcpy(&outer->saddr, &self()->ipv6, sizeof(outer->saddr));
	__builtin_memcpy(&outer->daddr, to, sizeof(outer->daddr));
	tunnel_fill((void *)(outer + 1), ether, source_port, length);
	return NEXT;
}

#define TUNNEL_ROOM_FLAGS                                                                                    \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) |        \
	 BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

__noinline int tunnel_encapsulate(struct __sk_buff *skb, struct packet *p, const struct address *to)
{
	__be16 source_port = bpf_htons(0xc000 | (bpf_get_hash_recalc(skb) & 0x3fff));
	__u32 length = skb->len - ETH_HLEN;

	if (!p || !to) return DROP;
	if (p->family == 4) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));
		__u8 ecn;

		if (!ip) return drop(p, DROP_HEADER_WRITE);
		ecn = ip->tos & ECN_MASK;
		if (bpf_skb_adjust_room(skb, tunnel_overhead(4), BPF_ADJ_ROOM_MAC,
					TUNNEL_ROOM_FLAGS | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
			return drop(p, DROP_HEADER_WRITE);
		return tunnel_write_ipv4(skb, p, to, source_port, ecn, length);
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));
		__u8 ecn;

		if (!ip) return drop(p, DROP_HEADER_WRITE);
		ecn = ipv6_traffic_class(ip) & ECN_MASK;
		if (bpf_skb_adjust_room(skb, tunnel_overhead(6), BPF_ADJ_ROOM_MAC,
					TUNNEL_ROOM_FLAGS | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
			return drop(p, DROP_HEADER_WRITE);
		return tunnel_write_ipv6(skb, p, to, source_port, ecn, length);
	}
}

/* Is this packet, parsed, sent to this node's tunnel port? */
static __always_inline bool tunnel_is_for_us(const struct packet *p)
{
	return self()->tunnel_mode == TUNNEL_VXLAN && p->tuple.protocol == IPPROTO_UDP &&
	       p->tuple.destination_port == self()->tunnel_port &&
	       !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT));
}

static __always_inline bool tunnel_is_congested(struct __sk_buff *skb, const struct packet *p)
{
	if (p->family == 4) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		return ip && (ip->tos & ECN_MASK) == ECN_CE;
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		return ip && (ipv6_traffic_class(ip) & ECN_MASK) == ECN_CE;
	}
}

__noinline int tunnel_decapsulate(struct __sk_buff *skb, struct packet *p)
{
	const struct node *node;
	struct vxlan *vxlan;
	bool congested;
	__u32 offset;

	if (!p) return DROP;
	offset = p->transport;
	node = node_of(&p->tuple.source);
	if (!node || node->flags & NODE_OWN) return drop(p, DROP_TUNNEL_SOURCE);
	p->tunnel_node = node->node;
	if (offset > TRANSPORT_OFFSET_MAX) return drop(p, DROP_IP_OPTIONS);
	vxlan = packet_header(skb, offset + sizeof(struct udphdr), sizeof(*vxlan));
	if (!vxlan || vxlan->flags != VXLAN_FLAG_VNI || vxlan->vni != bpf_htonl(self()->vni << 8) ||
	    vxlan->inner.h_proto != skb->protocol)
		return drop(p, DROP_PARSE);
	congested = tunnel_is_congested(skb, p);
	if (bpf_skb_adjust_room(skb, -(__s32)(offset - ETH_HLEN + sizeof(struct udphdr) + sizeof(*vxlan)),
				BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return drop(p, DROP_HEADER_WRITE);
	if (congested && !bpf_skb_ecn_set_ce(skb)) return drop(p, DROP_TUNNEL_ECN);
	__builtin_memset(&p->tuple, 0, sizeof(p->tuple));
	p->flags = PACKET_TUNNELLED;
	return NEXT;
}

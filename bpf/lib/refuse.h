/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Answers what a pod sends to a Service without endpoints, by turning the packet
 * round: a SYN becomes RST (RFC 9293 3.10.7.1), a UDP datagram ICMP port unreachable
 * (RFC 792, RFC 4443 3.1) that quotes its headers. Both come from the Service, so
 * that connect and send fail at once, as they do where a socket hook refuses.
 *
 * Returns the action: a redirect back into the pod, or TC_ACT_SHOT for what gets no
 * answer: fragments, other transports, TCP without SYN, IPv4 options, IPv6
 * extension headers. */
#pragma once
#include "checksum.h"
#include "parse.h"
#include "tunnel.h" /* ipv4_checksum */

#define REFUSE_HOP_LIMIT 64
#define ICMP_UNREACHABLE 3
#define ICMP_UNREACHABLE_PORT 3
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_UNREACHABLE_PORT 4

struct unreachable {
	struct icmphdr icmp;
	__u8 quoted[sizeof(struct ipv6hdr) + sizeof(struct udphdr)];
};

static __always_inline __u32 ip_length(const struct packet *p)
{
	return p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Over the addresses too: as 128 bits, for the prefix of a mapped one adds nothing. */
static __always_inline __sum16 refuse_checksum(const struct packet *p, __u8 protocol, const void *data,
					       __u32 bytes)
{
	struct {
		struct address source, destination;
		__be32 length, protocol;
	} ALIGNED pseudo = { .length = bpf_htonl(bytes), .protocol = bpf_htonl(protocol) };
	__wsum sum;

	address_copy(&pseudo.source, &p->tuple.source);
	address_copy(&pseudo.destination, &p->tuple.destination);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	if (protocol == IPPROTO_ICMP) sum = 0; /* has no pseudo header */
	return ~checksum_fold(bpf_csum_diff(NULL, 0, (__be32 *)data, bytes, sum));
}

/* The new IP header, from the packet's destination to its source. */
__noinline int refuse_network(struct __sk_buff *skb, struct packet *p, __u8 protocol, __u32 length)
{
	if (!p) return DROP;
	if (p->family == 4) {
		struct iphdr ip = { .version = 4, .ihl = 5, .ttl = REFUSE_HOP_LIMIT };

		ip.protocol = protocol;
		ip.tot_len = bpf_htons(sizeof(ip) + length);
		ip.frag_off = bpf_htons(0x4000);
		ip.saddr = address_ipv4(&p->tuple.destination);
		ip.daddr = address_ipv4(&p->tuple.source);
		ip.check = ipv4_checksum(&ip);
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? DROP : NEXT;
	}
	struct ipv6hdr ip = { .version = 6, .hop_limit = REFUSE_HOP_LIMIT };

	ip.nexthdr = protocol;
	ip.payload_len = bpf_htons(length);
	COPY_ALIGNED(&ip.saddr, &p->tuple.destination, sizeof(ip.saddr), 4);
	COPY_ALIGNED(&ip.daddr, &p->tuple.source, sizeof(ip.daddr), 4);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? DROP : NEXT;
}

__noinline int refuse_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr tcp = { .doff_res = 5 << 4, .flags = TCP_RST | TCP_ACK };
	__be32 sequence;

	if (!p || bpf_skb_load_bytes(skb, p->transport + 4, &sequence, sizeof(sequence))) return DROP;
	tcp.source = p->tuple.destination_port;
	tcp.dest = p->tuple.source_port;
	tcp.ack_seq = bpf_htonl(bpf_ntohl(sequence) + 1);
	tcp.check = refuse_checksum(p, IPPROTO_TCP, &tcp, sizeof(tcp));
	if (bpf_skb_change_tail(skb, p->transport + sizeof(tcp), 0) ||
	    bpf_skb_store_bytes(skb, p->transport, &tcp, sizeof(tcp), 0))
		return DROP;
	return refuse_network(skb, p, IPPROTO_TCP, sizeof(tcp));
}

__noinline int refuse_udp(struct __sk_buff *skb, struct packet *p)
{
	struct unreachable message = {};
	__u32 quoted, bytes;
	__u8 protocol;

	if (!p) return DROP;
	if (p->family == 4) {
		protocol = IPPROTO_ICMP;
		message.icmp.type = ICMP_UNREACHABLE;
		message.icmp.code = ICMP_UNREACHABLE_PORT;
		quoted = sizeof(struct iphdr) + sizeof(struct udphdr);
		if (bpf_skb_load_bytes(skb, ETH_HLEN, message.quoted, quoted)) return DROP;
	} else {
		protocol = IPPROTO_ICMPV6;
		message.icmp.type = ICMPV6_UNREACHABLE;
		message.icmp.code = ICMPV6_UNREACHABLE_PORT;
		quoted = sizeof(message.quoted);
		if (bpf_skb_load_bytes(skb, ETH_HLEN, message.quoted, quoted)) return DROP;
	}
	bytes = sizeof(message.icmp) + quoted;
	message.icmp.checksum = refuse_checksum(p, protocol, &message, bytes);
	if (bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) ||
	    bpf_skb_adjust_room(skb, ip_length(p) + sizeof(message.icmp), BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + ip_length(p), &message.icmp, sizeof(message.icmp), 0))
		return DROP;
	return refuse_network(skb, p, protocol, bytes);
}

static __always_inline int refuse(struct __sk_buff *skb, struct packet *p)
{
	int v = DROP;

	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT) ||
	    p->transport != ETH_HLEN + ip_length(p))
		return TC_ACT_SHOT;
	if (p->tuple.protocol == IPPROTO_TCP && packet_is_syn(p)) v = refuse_tcp(skb, p);
	if (p->tuple.protocol == IPPROTO_UDP) v = refuse_udp(skb, p);
	if (v != NEXT) return TC_ACT_SHOT;
	return bpf_redirect_peer(skb->ifindex, 0);
}

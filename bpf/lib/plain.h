/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Reads what most packets are, whole TCP or UDP without IP options or extension headers, at a
 * fraction of what parse.h costs. What is none of these is read by parse.h.
 *
 * plain_addresses fills the addresses; false: neither family, or an IPv4-mapped address.
 * plain_ports fills the rest of the tuple; false: not plain. The others come after it:
 * plain_may_hop: the IP header says what is there, and that there is a hop to take.
 * plain_transport: offset of the transport header.
 * plain_is_syn: TCP with SYN, or without a whole header. */
#pragma once
#include "parse.h"
#include "tuple.h"

static __always_inline bool plain_addresses(struct __sk_buff *skb, struct tuple *t)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip) return false;
		address_from_ipv4(&t->source, ip->saddr);
		address_from_ipv4(&t->destination, ip->daddr);
		return true;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip) return false;
		address_from_ipv6(&t->source, &ip->saddr);
		address_from_ipv6(&t->destination, &ip->daddr);
		return !address_is_ipv4(&t->source) && !address_is_ipv4(&t->destination);
	}
	return false;
}

static __always_inline bool plain_ports(struct __sk_buff *skb, struct tuple *t)
{
	struct udphdr *ports;
	__u8 protocol;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl != 5 ||
		    ip->frag_off & bpf_htons(IP_FRAGMENT_MORE | IP_FRAGMENT_OFFSET))
			return false;
		protocol = ip->protocol;
		ports = packet_header(skb, ETH_HLEN + sizeof(*ip), sizeof(*ports));
	} else {
		struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

		if (!ip || ip->version != 6) return false;
		protocol = ip->nexthdr;
		ports = packet_header(skb, ETH_HLEN + sizeof(*ip), sizeof(*ports));
	}
	if (!ports || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)) return false;
	t->source_port = ports->source;
	t->destination_port = ports->dest;
	*(__u32 *)&t->protocol = protocol; /* and the pad */
	return true;
}

static __always_inline __u32 plain_transport(const struct __sk_buff *skb)
{
	return ETH_HLEN +
	       (skb->protocol == bpf_htons(ETH_P_IP) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
}

static __always_inline bool plain_may_hop(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));
		__u16 length = ip ? bpf_ntohs(ip->tot_len) : 0;

		return length >= sizeof(*ip) && length <= skb->len - ETH_HLEN && ip->ttl > 1;
	}
	struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

	return ip && bpf_ntohs(ip->payload_len) <= skb->len - ETH_HLEN - sizeof(*ip) && ip->hop_limit > 1;
}

static __always_inline bool plain_is_syn(struct __sk_buff *skb, const struct tuple *t)
{
	struct tcphdr *tcp;

	if (t->protocol != IPPROTO_TCP) return false;
	tcp = skb->protocol == bpf_htons(ETH_P_IP)
		  ? packet_header(skb, ETH_HLEN + sizeof(struct iphdr), sizeof(*tcp))
		  : packet_header(skb, ETH_HLEN + sizeof(struct ipv6hdr), sizeof(*tcp));
	return !tcp || tcp->flags & TCP_SYN;
}

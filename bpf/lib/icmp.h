/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* ICMP errors: they belong to the flow of the packet that they quote.
 *
 * icmp_parse_quoted puts the quoted packet's tuple into packet.to, ports as
 * parse.h states them; false where it cannot be read (then the error is related to
 * nothing). Quoted IPv6 extension headers are not followed.
 * icmp_rewrite: packet.to is the translation of the error's own direction. The
 * quoted packet, which went the other way, becomes its reverse; outside, the
 * destination follows, and the source too where the quoted packet's receiver
 * itself sent the error, or where it becomes this node's, which alone the next node
 * takes it from. All checksums follow. DROP_HEADER_WRITE. */
#pragma once
#include "checksum.h"
#include "crc32c.h"
#include "node.h"
#include "parse.h"
#include "tuple.h"

#define ICMP_HEADER 8

static __always_inline void icmp_quoted_ports(struct tuple *quoted, const __be16 transport[4])
{
	__u8 type = transport[0] & 0xff;

	if (protocol_has_ports(quoted->protocol)) {
		quoted->source_port = transport[0];
		quoted->destination_port = transport[1];
	} else if (quoted->protocol == IPPROTO_ICMP || quoted->protocol == IPPROTO_ICMPV6) {
		bool v6 = quoted->protocol == IPPROTO_ICMPV6;

		if (type == (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST))
			quoted->source_port = transport[2];
		if (type == (v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY))
			quoted->destination_port = transport[2];
	}
}

/* Offset of the quoted transport header, 0 where it cannot be read. */
static __always_inline __u32 icmp_quoted_transport(struct __sk_buff *skb, const struct packet *p)
{
	__u32 quoted = p->transport + ICMP_HEADER;
	__u8 length;

	if (p->family == 6) return quoted + sizeof(struct ipv6hdr);
	if (bpf_skb_load_bytes(skb, quoted, &length, 1)) return 0;
	return quoted + (length & 0xf) * 4;
}

__noinline int icmp_parse_quoted(struct __sk_buff *skb, struct packet *p)
{
	__u32 quoted, transport;
	__be16 ports[4];

	if (!p) return false;
	quoted = p->transport + ICMP_HEADER;
	transport = icmp_quoted_transport(skb, p);
	__builtin_memset(&p->to, 0, sizeof(p->to));
	if (p->family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, quoted, &ip, sizeof(ip))) return false;
		address_from_ipv4(&p->to.source, ip.saddr);
		address_from_ipv4(&p->to.destination, ip.daddr);
		p->to.protocol = ip.protocol;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, quoted, &ip, sizeof(ip))) return false;
		address_from_ipv6(&p->to.source, &ip.saddr);
		address_from_ipv6(&p->to.destination, &ip.daddr);
		p->to.protocol = ip.nexthdr;
	}
	if (!transport || bpf_skb_load_bytes(skb, transport, ports, sizeof(ports))) return false;
	icmp_quoted_ports(&p->to, ports);
	return true;
}

/* Bytes of the transport header at `at` and what follows it, as the IP header at `ip` says. */
static __always_inline __u32 length_behind(struct __sk_buff *skb, __u8 family, __u32 ip, __u32 at)
{
	__be16 length = 0;

	bpf_skb_load_bytes(skb, ip + (family == 4 ? 2 : 4), &length, sizeof(length));
	return bpf_ntohs(length) + (family == 4 ? 0 : sizeof(struct ipv6hdr)) - (at - ip);
}

/* Behind the ports, where it is quoted. Returns what it adds to the sum over the ICMP message. */
static __always_inline __u32 icmp_rewrite_sctp(struct __sk_buff *skb, const struct packet *p, __u32 transport,
					       __u32 change)
{
	__u32 old, new, ip = p->transport + ICMP_HEADER;

	if (bpf_skb_load_bytes(skb, transport + 8, &old, sizeof(old)) || !old) return 0;
	new = old ^ crc32c_shift(change, length_behind(skb, p->family, ip, transport) & 0xffff);
	bpf_skb_store_bytes(skb, transport + 8, &new, sizeof(new), 0);
	return bpf_csum_diff(&old, 4, &new, 4, 0);
}

/* The quoted transport header: its ports (or echo id), and its checksum where it is
 * quoted. Returns what this adds to the sum over the ICMP message. */
static __always_inline __u32 icmp_rewrite_transport(struct __sk_buff *skb, const struct packet *p,
						    __u32 transport, __u32 address_diff)
{
	bool ports = protocol_has_ports(p->to.protocol);
	bool echo = p->to.protocol == IPPROTO_ICMP || p->to.protocol == IPPROTO_ICMPV6;
	__u32 checksum_at = transport + checksum_offset(p->to.protocol);
	__be16 old_port[2] __attribute__((aligned(4)));
	__be16 new_port[2] __attribute__((aligned(4))) = { p->to.destination_port, p->to.source_port };
	__u32 at = transport, diff;
	__u32 old = 0, new = 0;

	if (!ports && !echo) return 0;
	if (echo) {
		at += 4;
		new_port[0] |= new_port[1]; /* one of them is the id, the other 0 */
	}
	if (bpf_skb_load_bytes(skb, at, old_port, sizeof(old_port))) return 0;
	if (echo) new_port[1] = old_port[1]; /* the sequence number */
	diff = bpf_csum_diff((__be32 *)old_port, 4, (__be32 *)new_port, 4, 0);
	bpf_skb_store_bytes(skb, at, new_port, sizeof(new_port), 0);
	if (p->to.protocol == IPPROTO_SCTP)
		return checksum_add(
		    diff, icmp_rewrite_sctp(skb, p, transport, *(__u32 *)old_port ^ *(__u32 *)new_port));
	if (bpf_skb_load_bytes(skb, checksum_at, &old, 2)) return diff;
	if (p->to.protocol == IPPROTO_UDP && !old) return diff;
	new = checksum_apply(old, p->to.protocol == IPPROTO_ICMP ? diff : checksum_add(diff, address_diff));
	bpf_skb_store_bytes(skb, checksum_at, &new, 2, 0);
	return checksum_add(diff, bpf_csum_diff(&old, 4, &new, 4, 0));
}

/* Outer addresses as words: source, then destination. */
static __always_inline void icmp_new_outer(const struct packet *p, __u32 *new, const __u32 *quoted, int words)
{
	bool from_receiver = true; /* of the quoted packet */
	bool ours = p->flags & PACKET_NETWORK && self_has(&p->to.source);

	for (int i = 0; i < words; i++)
		from_receiver &= new[i] == quoted[words + i];
	if (self()->dsr && packet_returns(p) && p->destination == TO_NODE)
		address_to_words(new, words == 1 ? &self()->ipv4 : &self()->ipv6, words);
	else if (from_receiver || ours)
		address_to_words(new, &p->to.source, words);
	address_to_words(new + words, &p->to.destination, words);
}

/* words: of an address of this family, known when it is compiled. */
static __always_inline enum verdict icmp_rewrite(struct __sk_buff *skb, struct packet *p, const int words)
{
	const __u32 bytes = 2 * words * sizeof(__u32), addresses = words == 1 ? 12 : 8;
	__u32 old_outer[8], new_outer[8], old_quoted[8], new_quoted[8];
	__u32 quoted = p->transport + ICMP_HEADER, transport = icmp_quoted_transport(skb, p);
	__u32 diff, beyond;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + addresses, old_outer, bytes) ||
	    bpf_skb_load_bytes(skb, quoted + addresses, old_quoted, bytes))
		return drop(p, DROP_HEADER_WRITE);
	address_to_words(&new_quoted[0], &p->to.destination, words);
	address_to_words(&new_quoted[words], &p->to.source, words);
	__builtin_memcpy(new_outer, old_outer, bytes);
	icmp_new_outer(p, new_outer, old_quoted, words);

	diff = bpf_csum_diff(old_quoted, bytes, new_quoted, bytes, 0);
	bpf_skb_store_bytes(skb, quoted + addresses, new_quoted, bytes, 0);
	beyond = icmp_rewrite_transport(skb, p, transport, diff);
	if (words == 1)
		bpf_l3_csum_replace(skb, quoted + 10, 0, diff, 0); /* so the message's sum stays */
	else
		beyond = checksum_add(diff, beyond);
	bpf_l4_csum_replace(skb, p->transport + 2, 0, beyond, 0);

	diff = bpf_csum_diff(old_outer, bytes, new_outer, bytes, 0);
	if ((words == 1 ? bpf_l3_csum_replace(skb, ETH_HLEN + 10, 0, diff, 0)
			: bpf_l4_csum_replace(skb, p->transport + 2, 0, diff, BPF_F_PSEUDO_HDR)) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + addresses, new_outer, bytes, 0))
		return drop(p, DROP_HEADER_WRITE);
	return NEXT;
}

__noinline int icmp_rewrite_ipv4(struct __sk_buff *skb, struct packet *p)
{
	return p ? icmp_rewrite(skb, p, 1) : DROP;
}

__noinline int icmp_rewrite_ipv6(struct __sk_buff *skb, struct packet *p)
{
	return p ? icmp_rewrite(skb, p, 4) : DROP;
}

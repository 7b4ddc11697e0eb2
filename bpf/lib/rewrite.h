/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Makes the headers of a translated packet what packet.to says, whatever they
 * were; lengths stay. DROP_HEADER_WRITE, also for SCTP in fragments whose ports would change: its checksum
 * changes by the length of the whole. */
#pragma once
#include "crc32c.h"
#include "icmp.h"

/* Flags of bpf_l4_csum_replace: UDP's 0 means none and stays so. */
static __always_inline __u64 rewrite_flags(__u8 protocol)
{
	return protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline bool rewrite_has_checksum(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMPV6;
}

__noinline int rewrite_addresses(struct __sk_buff *skb, struct packet *p)
{
	__u32 old[8], new[8], at, diff;

	if (!p) return DROP;
	at = p->family == 4 ? ETH_HLEN + 12 : ETH_HLEN + 8;
	if (p->family == 4) {
		if (bpf_skb_load_bytes(skb, at, old, 8)) return drop(p, DROP_HEADER_WRITE);
		address_to_words(&new[0], &p->to.source, 1);
		address_to_words(&new[1], &p->to.destination, 1);
		diff = bpf_csum_diff(old, 8, new, 8, 0);
		if (bpf_l3_csum_replace(skb, ETH_HLEN + 10, 0, diff, 0) ||
		    bpf_skb_store_bytes(skb, at, new, 8, 0))
			return drop(p, DROP_HEADER_WRITE);
	} else {
		if (bpf_skb_load_bytes(skb, at, old, 32)) return drop(p, DROP_HEADER_WRITE);
		address_to_words(&new[0], &p->to.source, 4);
		address_to_words(&new[4], &p->to.destination, 4);
		diff = bpf_csum_diff(old, 32, new, 32, 0);
		if (bpf_skb_store_bytes(skb, at, new, 32, 0)) return drop(p, DROP_HEADER_WRITE);
	}
	if (p->flags & PACKET_LATER_FRAGMENT || !rewrite_has_checksum(p->tuple.protocol)) return NEXT;
	if (bpf_l4_csum_replace(skb, p->transport + checksum_offset(p->tuple.protocol), 0, diff,
				BPF_F_PSEUDO_HDR | rewrite_flags(p->tuple.protocol)))
		return drop(p, DROP_HEADER_WRITE);
	return NEXT;
}

/* A checksum of 0 is the device's to compute yet (CHECKSUM_PARTIAL, net/core/dev.c skb_crc32c_csum_help,
 * v6.1), over what is there then; a computed one is 0 once in 2^32. */
__noinline int rewrite_sctp(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__be16 ports[2];
		__u32 tag, checksum;
	} sctp;
	__u32 old, new;

	if (!p) return DROP;
	if (bpf_skb_load_bytes(skb, p->transport, &sctp, sizeof(sctp))) return drop(p, DROP_HEADER_WRITE);
	old = (__u32)sctp.ports[1] << 16 | sctp.ports[0];
	new = (__u32)p->to.destination_port << 16 | p->to.source_port;
	if (old == new) return NEXT;
	if (p->flags & PACKET_FIRST_FRAGMENT) return drop(p, DROP_HEADER_WRITE);
	if (sctp.checksum)
		sctp.checksum ^=
		    crc32c_shift(old ^ new, length_behind(skb, p->family, ETH_HLEN, p->transport) & 0xffff);
	sctp.ports[0] = p->to.source_port;
	sctp.ports[1] = p->to.destination_port;
	if (bpf_skb_store_bytes(skb, p->transport, &sctp, sizeof(sctp), BPF_F_RECOMPUTE_CSUM))
		return drop(p, DROP_HEADER_WRITE);
	return NEXT;
}

/* Ports, or the id of an ICMP echo: source of a request, destination of a reply. */
__noinline int rewrite_ports(struct __sk_buff *skb, struct packet *p)
{
	__be16 old[2], new[2];
	__u32 at, diff;

	if (!p) return DROP;
	at = p->transport;
	new[0] = p->to.source_port;
	new[1] = p->to.destination_port;
	if (p->tuple.protocol == IPPROTO_ICMP || p->tuple.protocol == IPPROTO_ICMPV6)
		at += 4;
	else if (p->tuple.protocol != IPPROTO_TCP && p->tuple.protocol != IPPROTO_UDP)
		return NEXT;
	if (bpf_skb_load_bytes(skb, at, old, sizeof(old))) return drop(p, DROP_HEADER_WRITE);
	if (at != p->transport) {
		if (p->icmp_type != ICMP_ECHO_REQUEST && p->icmp_type != ICMPV6_ECHO_REQUEST &&
		    p->icmp_type != ICMP_ECHO_REPLY && p->icmp_type != ICMPV6_ECHO_REPLY)
			return NEXT;
		new[0] |= new[1];
		new[1] = old[1]; /* the sequence number */
	}
	diff = bpf_csum_diff((__be32 *)old, 4, (__be32 *)new, 4, 0);
	if (bpf_l4_csum_replace(skb, p->transport + checksum_offset(p->tuple.protocol), 0, diff,
				rewrite_flags(p->tuple.protocol)) ||
	    bpf_skb_store_bytes(skb, at, new, sizeof(new), 0))
		return drop(p, DROP_HEADER_WRITE);
	return NEXT;
}

/* The host's own flow to the world is a translation that mostly changes nothing. */
static __always_inline bool rewrite_is_needed(const struct packet *p)
{
	if (!(p->flags & PACKET_TRANSLATED)) return false;
	if (p->flags & PACKET_ICMP_ERROR || p->to.source_port != p->tuple.source_port) return true;
	return p->to.destination_port != p->asked_port || !address_equal(&p->to.source, &p->tuple.source) ||
	       !address_equal(&p->to.destination, &p->asked);
}

static __always_inline enum verdict rewrite(struct __sk_buff *skb, struct packet *p)
{
	if (!rewrite_is_needed(p)) return NEXT;
	if (p->flags & PACKET_ICMP_ERROR)
		return p->family == 4 ? icmp_rewrite_ipv4(skb, p) : icmp_rewrite_ipv6(skb, p);
	if (rewrite_addresses(skb, p) == DROP) return DROP;
	if (p->flags & PACKET_LATER_FRAGMENT) return NEXT;
	return p->tuple.protocol == IPPROTO_SCTP ? rewrite_sctp(skb, p) : rewrite_ports(skb, p);
}

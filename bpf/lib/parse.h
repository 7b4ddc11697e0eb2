/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Parsing: the only place that knows the headers of a family.
 *
 * parse_network fills addresses, protocol, hop limit, family, offset of the
 * transport header. DROP: DROP_ETHERTYPE (neither family, or a VLAN tag),
 * DROP_PARSE (truncated, wrong version or length), DROP_MAPPED_ADDRESS (an IPv6
 * header with an IPv4-mapped address), DROP_IP_OPTIONS (more than 4 IPv6 extension
 * headers, or a routing header). Extension headers that are skipped: hop-by-hop,
 * destination options, fragment.
 *
 * parse_transport fills the ports and flags of the tuple:
 *   TCP, UDP, SCTP   the ports
 *   ICMP echo        request: (id, 0); reply: (0, id): one flow, oriented by type
 *   ICMP error       (0, 0) and PACKET_ICMP_ERROR: types 3 4 11 12, in IPv6 1..4
 *   other ICMP       (0, type << 8 | code)
 *   anything else    (0, 0)
 * A later fragment takes its ports from `fragments`, and is DROP_FRAGMENT where it
 * comes before its first, which the hook enters by fragment_remember (lib/sort.h: by sort_first) as
 * soon as its source is proven and before anything of the tuple is translated. */
#pragma once
#include <bpf/bpf_endian.h>
#include "packet.h"

#define IP_FRAGMENT_NOT 0x4000
#define IP_FRAGMENT_MORE 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_DESTINATION_OPTIONS 60
#define IPV6_EXTENSIONS_MAX 4

#define TRANSPORT_OFFSET_MAX 512 /* bound that the verifier needs; no accepted header lies beyond */

static __always_inline bool packet_is_echo_reply(const struct packet *p)
{
	return (p->tuple.protocol == IPPROTO_ICMP && p->icmp_type == ICMP_ECHO_REPLY) ||
	       (p->tuple.protocol == IPPROTO_ICMPV6 && p->icmp_type == ICMPV6_ECHO_REPLY);
}

static __always_inline void parse_fragment(struct packet *p, __u16 offset, __u16 more, __be32 identification)
{
	if (!offset && !more) return;
	p->flags |= offset ? PACKET_LATER_FRAGMENT : PACKET_FIRST_FRAGMENT;
	p->identification = identification;
}

static __always_inline bool ipv6_is_extension(__u8 header)
{
	return header == IPV6_HOP_BY_HOP || header == IPV6_ROUTING || header == IPV6_FRAGMENT ||
	       header == IPV6_DESTINATION_OPTIONS;
}

/* Advances packet.transport and .protocol beyond the extension headers. */
__noinline int parse_ipv6_extensions(struct __sk_buff *skb, struct packet *p)
{
	struct {
		__u8 next, length;
		__be16 offset;
		__be32 identification;
	} extension;

	if (!p) return DROP;
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (p->tuple.protocol == IPV6_ROUTING) return drop(p, DROP_IP_OPTIONS);
		if (bpf_skb_load_bytes(skb, p->transport, &extension, sizeof(extension)))
			return drop(p, DROP_PARSE);
		if (p->tuple.protocol == IPV6_FRAGMENT) {
			__u16 offset = bpf_ntohs(extension.offset);

			parse_fragment(p, offset & ~7, offset & 1, extension.identification);
			p->transport += sizeof(extension);
		} else {
			p->transport += (extension.length + 1) * 8;
		}
		p->tuple.protocol = extension.next;
		if (!ipv6_is_extension(p->tuple.protocol) || p->flags & PACKET_LATER_FRAGMENT) return NEXT;
	}
	return drop(p, DROP_IP_OPTIONS);
}

static __always_inline enum verdict parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));
	__u16 fragment, length;

	if (!ip || ip->version != 4 || ip->ihl < 5) return drop(p, DROP_PARSE);
	length = bpf_ntohs(ip->tot_len);
	if (length > skb->len - ETH_HLEN) return drop(p, DROP_PARSE);
	/* Only a packet beyond 64 KiB, which is segmented later, may have no length. */
	if (length < ip->ihl * 4 && (length || !skb->gso_size)) return drop(p, DROP_PARSE);
	p->family = 4;
	address_from_ipv4(&p->tuple.source, ip->saddr);
	address_from_ipv4(&p->tuple.destination, ip->daddr);
	p->tuple.protocol = ip->protocol;
	p->hop_limit = ip->ttl;
	p->transport = ETH_HLEN + ip->ihl * 4;
	fragment = bpf_ntohs(ip->frag_off);
	parse_fragment(p, fragment & IP_FRAGMENT_OFFSET, fragment & IP_FRAGMENT_MORE,
		       bpf_htonl(bpf_ntohs(ip->id)));
	return NEXT;
}

static __always_inline enum verdict parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr *ip = packet_header(skb, ETH_HLEN, sizeof(*ip));

	if (!ip || ip->version != 6 || bpf_ntohs(ip->payload_len) > skb->len - ETH_HLEN - sizeof(*ip))
		return drop(p, DROP_PARSE);
	p->family = 6;
	address_from_ipv6(&p->tuple.source, &ip->saddr);
	address_from_ipv6(&p->tuple.destination, &ip->daddr);
	if (address_is_ipv4(&p->tuple.source) || address_is_ipv4(&p->tuple.destination))
		return drop(p, DROP_MAPPED_ADDRESS);
	p->tuple.protocol = ip->nexthdr;
	p->hop_limit = ip->hop_limit;
	p->transport = ETH_HLEN + sizeof(*ip);
	if (ipv6_is_extension(ip->nexthdr)) return parse_ipv6_extensions(skb, p);
	return NEXT;
}

static __always_inline enum verdict parse_network(struct __sk_buff *skb, struct packet *p)
{
	if (skb->vlan_present) return drop(p, DROP_ETHERTYPE);
	if (skb->protocol == bpf_htons(ETH_P_IP)) return parse_ipv4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) return parse_ipv6(skb, p);
	return drop(p, DROP_ETHERTYPE);
}

static __always_inline void fragment_key_of(struct fragment_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	address_copy(&key->source, &p->tuple.source);
	address_copy(&key->destination, &p->tuple.destination);
	key->identification = p->identification;
	key->protocol = p->tuple.protocol;
}

/* REDIRECT, where the sorter may be asked: pieces of this datagram went there before. */
__noinline int fragment_enter(struct packet *p, bool may_sort)
{
	ALIGNED struct fragment_key key;
	struct fragment ports = {};
	const struct fragment *known;

	if (!p) return DROP;
	fragment_key_of(&key, p);
	ports.source_port = p->tuple.source_port;
	ports.destination_port = p->tuple.destination_port;
	if (may_sort && !bpf_map_update_elem(&fragments, &key, &ports, BPF_NOEXIST)) return NEXT;
	known = may_sort ? bpf_map_lookup_elem(&fragments, &key) : NULL;
	if (known && known->sorting) return REDIRECT;
	bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
	return NEXT;
}

/* Of what the node's stack sends, which has its pieces in order. */
static __always_inline void fragment_remember(struct packet *p)
{
	if (p->flags & PACKET_FIRST_FRAGMENT) fragment_enter(p, false);
}

__noinline int fragment_find(struct packet *p)
{
	ALIGNED struct fragment_key key;
	struct fragment *known;

	if (!p) return DROP;
	fragment_key_of(&key, p);
	known = bpf_map_lookup_elem(&fragments, &key);
	if (!known || known->sorting) return drop(p, DROP_FRAGMENT);
	p->tuple.source_port = known->source_port;
	p->tuple.destination_port = known->destination_port;
	if (p->tuple.protocol == IPPROTO_ICMP)
		p->icmp_type = known->source_port ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY;
	if (p->tuple.protocol == IPPROTO_ICMPV6)
		p->icmp_type = known->source_port ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
	return NEXT;
}

static __always_inline bool icmp_is_error(__u8 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMPV6) return type >= 1 && type <= 4;
	return type == 3 || type == 4 || type == 11 || type == 12;
}

static __always_inline void parse_icmp(struct packet *p, const struct icmphdr *icmp)
{
	bool v6 = p->tuple.protocol == IPPROTO_ICMPV6;

	p->icmp_type = icmp->type;
	p->icmp_code = icmp->code;
	if (icmp->type == (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST))
		p->tuple.source_port = icmp->id;
	else if (icmp->type == (v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY))
		p->tuple.destination_port = icmp->id;
	else if (icmp_is_error(p->tuple.protocol, icmp->type))
		p->flags |= PACKET_ICMP_ERROR;
	else
		p->tuple.destination_port = bpf_htons(icmp->type << 8 | icmp->code);
}

static __always_inline enum verdict parse_transport(struct __sk_buff *skb, struct packet *p)
{
	__u32 offset = p->transport;

	if (offset > TRANSPORT_OFFSET_MAX) return drop(p, DROP_IP_OPTIONS);
	if (p->flags & PACKET_LATER_FRAGMENT) return fragment_find(p);
	if (p->tuple.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = packet_header(skb, offset, sizeof(*tcp));

		if (!tcp) return drop(p, DROP_PARSE);
		p->tuple.source_port = tcp->source;
		p->tuple.destination_port = tcp->dest;
		p->tcp_flags = tcp->flags;
	} else if (p->tuple.protocol == IPPROTO_UDP || p->tuple.protocol == IPPROTO_SCTP) {
		struct udphdr *udp = packet_header(skb, offset, sizeof(*udp));

		if (!udp) return drop(p, DROP_PARSE);
		p->tuple.source_port = udp->source;
		p->tuple.destination_port = udp->dest;
	} else if (p->tuple.protocol == (p->family == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		struct icmphdr *icmp = packet_header(skb, offset, sizeof(*icmp));

		if (!icmp) return drop(p, DROP_PARSE);
		parse_icmp(p, icmp);
	}
	return NEXT;
}

static __always_inline enum verdict parse(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = parse_network(skb, p);

	return v == NEXT ? parse_transport(skb, p) : v;
}

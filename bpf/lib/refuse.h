/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Answers what was dropped, by turning the packet round:
 *
 *   DROP_NO_BACKEND, DROP_NO_PORT   a SYN becomes RST (RFC 9293 3.10.7.1), a UDP datagram
 *                                   ICMP port unreachable (RFC 792, RFC 4443 3.1)
 *   DROP_POLICY_EGRESS, _INGRESS    the same, if the configuration asks for it: TCP that may belong
 *                                   to a connection becomes RST as well, and ICMP says prohibited
 *   DROP_TOO_LARGE                  Packet Too Big (RFC 1191 4, RFC 4443 3.2)
 *   DROP_HOP_LIMIT                  Time Exceeded (RFC 792, RFC 4443 3.3)
 *
 * ICMP quotes the headers that came. All come from what the packet asked for, maybe a Service, so
 * that connect and send fail at once, as they do where a socket hook refuses.
 *
 * refuse_to_pod, refuse_to_network, refuse_to_host return the action: `action`, or instead of
 * TC_ACT_SHOT a redirect to where the packet came from. No answer: fragments, other transports,
 * TCP without SYN that a Service refuses, RST, IPv4 options, IPv6 extension headers, frames sent to
 * many, sources that are not one host's (RFC 1812 4.3.2.7, RFC 4443 2.4 (e)).
 *
 * Each CPU has a bucket for ICMP (RFC 4443 2.4 (f), RFC 1812 4.3.2.8); what finds it empty is
 * counted as DROP_ANSWER_LIMIT beside the drop. RST is no longer than what asked for it. */
#pragma once
#include "checksum.h"
#include "event.h"
#include "forward.h"
#include "parse.h"
#include "tunnel.h"

#define REFUSE_HOP_LIMIT 64
#define ANSWER_BURST 50
#define ANSWER_NS (SECOND_NS / 1000) /* between two, in the long run */
#define FRAME_TO_ALL 1               /* skb->pkt_type: PACKET_BROADCAST of linux/if_packet.h */
#define FRAME_TO_MANY 2              /* PACKET_MULTICAST */
#define ICMP_UNREACHABLE 3
#define ICMP_UNREACHABLE_PORT 3
#define ICMP_UNREACHABLE_TOO_LARGE 4
#define ICMP_UNREACHABLE_PROHIBITED 13
#define ICMP_TIME_EXCEEDED 11
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_UNREACHABLE_PROHIBITED 1
#define ICMPV6_UNREACHABLE_PORT 4
#define ICMPV6_TOO_LARGE 2
#define ICMPV6_TIME_EXCEEDED 3

struct unreachable {
	struct icmphdr icmp;
	__u8 quoted[sizeof(struct ipv6hdr) + sizeof(struct tcphdr)];
};

/* Until when the answers of each CPU are paid for: that time goes on with each, by ANSWER_NS in the mean. By
 * no exact amount, or whoever counts the answers he gets could tell whether a packet that he forged for
 * somebody was answered (CVE-2020-25705). */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} answers_paid SEC(".maps");

static __always_inline bool answer_is_due(void)
{
	__u64 *paid, now = clock_ns();
	__u32 zero = 0;

	paid = bpf_map_lookup_elem(&answers_paid, &zero);
	if (!paid) return false;
	if ((__s64)(now - *paid) > (__s64)(ANSWER_BURST * ANSWER_NS)) *paid = now - ANSWER_BURST * ANSWER_NS;
	if ((__s64)(now - *paid) < (__s64)ANSWER_NS) return false;
	*paid += ANSWER_NS / 2 + bpf_get_prandom_u32() % ANSWER_NS;
	return true;
}

static __always_inline __u32 ip_length(const struct packet *p)
{
	return p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* Leaves `length` bytes behind the Ethernet header, whatever they hold. The tail of a packet that
 * came in the tunnel over a veth cannot be cut, for it still says that it is in one
 * (net/core/filter.c __bpf_skb_change_tail, v6.1): then so much goes at the front. */
static __always_inline long refuse_resize(struct __sk_buff *skb, __u32 length)
{
	long error = bpf_skb_change_tail(skb, ETH_HLEN + length, 0);

	if (error != -ENOTSUPP) return error;
	return bpf_skb_adjust_room(skb, ETH_HLEN + length - skb->len, BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_FIXED_GSO);
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

	address_copy(&pseudo.source, &p->asked);
	address_copy(&pseudo.destination, &p->tuple.source);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	if (protocol == IPPROTO_ICMP) sum = 0; /* has no pseudo header */
	return ~checksum_fold(bpf_csum_diff(NULL, 0, (__be32 *)data, bytes, sum));
}

/* The new IP header, from what the packet asked for to its source. */
__noinline int refuse_network(struct __sk_buff *skb, struct packet *p, __u8 protocol, __u32 length)
{
	if (!p) return DROP;
	if (p->family == 4) {
		struct iphdr ip = { .version = 4, .ihl = 5, .ttl = REFUSE_HOP_LIMIT };

		ip.protocol = protocol;
		ip.tot_len = bpf_htons(sizeof(ip) + length);
		ip.frag_off = bpf_htons(0x4000);
		ip.saddr = address_ipv4(&p->asked);
		ip.daddr = address_ipv4(&p->tuple.source);
		ip.check = ipv4_checksum(&ip);
		return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? DROP : NEXT;
	}
	struct ipv6hdr ip = { .version = 6, .hop_limit = REFUSE_HOP_LIMIT };

	ip.nexthdr = protocol;
	ip.payload_len = bpf_htons(length);
	COPY_ALIGNED(&ip.saddr, &p->asked, sizeof(ip.saddr), 4);
	COPY_ALIGNED(&ip.daddr, &p->tuple.source, sizeof(ip.daddr), 4);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? DROP : NEXT;
}

__noinline int refuse_tcp(struct __sk_buff *skb, struct packet *p)
{
	struct tcphdr tcp = { .doff_res = 5 << 4, .flags = TCP_RST };
	__be32 came[2]; /* sequence and acknowledgment */

	if (!p || bpf_skb_load_bytes(skb, p->transport + 4, came, sizeof(came))) return DROP;
	tcp.source = p->asked_port;
	tcp.dest = p->tuple.source_port;
	if (packet_is_syn(p)) {
		tcp.flags |= TCP_ACK;
		tcp.ack_seq = bpf_htonl(bpf_ntohl(came[0]) + 1);
	} else {
		tcp.seq = came[1]; /* what the sender waits for, RFC 9293 3.10.7.1 */
	}
	tcp.check = refuse_checksum(p, IPPROTO_TCP, &tcp, sizeof(tcp));
	if (refuse_resize(skb, ip_length(p) + sizeof(tcp)) ||
	    bpf_skb_store_bytes(skb, p->transport, &tcp, sizeof(tcp), 0))
		return DROP;
	return refuse_network(skb, p, IPPROTO_TCP, sizeof(tcp));
}

static __always_inline bool refuse_by_policy(const struct packet *p)
{
	return p->reason == DROP_POLICY_EGRESS || p->reason == DROP_POLICY_INGRESS;
}

static __always_inline void refuse_type(struct icmphdr *icmp, const struct packet *p)
{
	bool ipv4 = p->family == 4;

	if (p->reason == DROP_TOO_LARGE) {
		icmp->type = ipv4 ? ICMP_UNREACHABLE : ICMPV6_TOO_LARGE;
		icmp->code = ipv4 ? ICMP_UNREACHABLE_TOO_LARGE : 0;
		icmp->sequence = bpf_htons(p->mtu); /* the lower half of its word, in both families */
	} else if (p->reason == DROP_HOP_LIMIT) {
		icmp->type = ipv4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED;
	} else {
		icmp->type = ipv4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE;
		icmp->code = ipv4 ? ICMP_UNREACHABLE_PORT : ICMPV6_UNREACHABLE_PORT;
		if (refuse_by_policy(p))
			icmp->code = ipv4 ? ICMP_UNREACHABLE_PROHIBITED : ICMPV6_UNREACHABLE_PROHIBITED;
	}
}

__noinline int refuse_icmp(struct __sk_buff *skb, struct packet *p)
{
	struct unreachable message = {};
	__u32 quoted, bytes;
	__u8 protocol;

	if (!p) return DROP;
	/* Others' connections stop without path MTU discovery (Linux: icmpv4_mask_allow). */
	if (p->reason != DROP_TOO_LARGE && !answer_is_due()) {
		drops_add(DROP_ANSWER_LIMIT, skb->len);
		return DROP;
	}
	refuse_type(&message.icmp, p);
	protocol = p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	quoted =
	    ip_length(p) + (p->tuple.protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr));
	if (bpf_skb_load_bytes(skb, ETH_HLEN, message.quoted, quoted)) return DROP;
	bytes = sizeof(message.icmp) + quoted;
	message.icmp.checksum = refuse_checksum(p, protocol, &message, bytes);
	if (refuse_resize(skb, ip_length(p) + bytes) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + ip_length(p), &message, bytes, 0))
		return DROP;
	return refuse_network(skb, p, protocol, bytes);
}

static __always_inline bool refuse_answers(const struct __sk_buff *skb, const struct packet *p)
{
	if (p->reason != DROP_NO_BACKEND && p->reason != DROP_NO_PORT && p->reason != DROP_TOO_LARGE &&
	    p->reason != DROP_HOP_LIMIT && !(refuse_by_policy(p) && self()->refuse_denied))
		return false;
	if (skb->pkt_type == FRAME_TO_ALL || skb->pkt_type == FRAME_TO_MANY) return false;
	if (address_is_no_host(&p->tuple.source)) return false;
	return !(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)) &&
	       p->transport == ETH_HLEN + ip_length(p);
}

/* An established connection that a Service would refuse is somebody else's; one that policy denies ends. */
static __always_inline bool refuse_resets(const struct packet *p)
{
	if (packet_is_syn(p)) return true;
	return refuse_by_policy(p) && (p->tcp_flags & (TCP_RST | TCP_ACK)) == TCP_ACK;
}

/* NEXT: the packet has become its answer. */
static __always_inline enum verdict refuse(struct __sk_buff *skb, struct packet *p, int action)
{
	if (action != TC_ACT_SHOT || !refuse_answers(skb, p)) return DROP;
	if (p->tuple.protocol == IPPROTO_UDP) return refuse_icmp(skb, p);
	if (p->tuple.protocol != IPPROTO_TCP) return DROP;
	if (p->reason == DROP_TOO_LARGE || p->reason == DROP_HOP_LIMIT) return refuse_icmp(skb, p);
	return refuse_resets(p) ? refuse_tcp(skb, p) : DROP;
}

static __always_inline int refuse_to_pod(struct __sk_buff *skb, struct packet *p, int action)
{
	return refuse(skb, p, action) == NEXT ? bpf_redirect_peer(skb->ifindex, 0) : action;
}

/* To the neighbour that the packet came from, or (BPF_F_INGRESS) back into the stack. */
static __always_inline int refuse_to_link(struct __sk_buff *skb, __u64 flags)
{
	__u8 to[ETH_ALEN], from[ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, from, ETH_ALEN) || bpf_skb_load_bytes(skb, ETH_ALEN, to, ETH_ALEN) ||
	    bpf_skb_store_bytes(skb, 0, to, ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, ETH_ALEN, from, ETH_ALEN, 0))
		return TC_ACT_SHOT;
	skb->mark = HEDDLE_MARK;
	return bpf_redirect(skb->ifindex, flags);
}

static __always_inline int refuse_to_network(struct __sk_buff *skb, struct packet *p, int action)
{
	if (refuse(skb, p, action) != NEXT) return action;
	if (packet_is_dsr(p) && p->flags & PACKET_TUNNELLED) { /* as the backend would */
		skb->mark = HEDDLE_MARK;
		return bpf_redirect_neigh(self()->uplink, NULL, 0, 0);
	}
	if (!(p->flags & PACKET_TUNNELLED)) return refuse_to_link(skb, 0);

	const struct nexthop *nexthop = nexthop_of(p->tunnel_node, p->family);

	return nexthop && send_to_node(skb, &p->tuple, nexthop) == REDIRECT ? TC_ACT_REDIRECT : TC_ACT_SHOT;
}

static __always_inline int refuse_to_host(struct __sk_buff *skb, struct packet *p, int action)
{
	if (!(p->flags & PACKET_HOST) || refuse(skb, p, action) != NEXT) return action;
	return refuse_to_link(skb, BPF_F_INGRESS);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One packet on its way through a hook: what the stages tell one another.
 * It lies on the stack, of which a program has 512 bytes: keep it small. */
#pragma once
#include "../abi/event.h"
#include "../abi/nat.h"
#include "address.h"

/* What a stage says. A stage that returns anything but NEXT has decided. */
enum verdict {
	NEXT = 0,
	PASS = 1,     /* to the stack, or out of the device it is about to leave by */
	REDIRECT = 2, /* a redirect helper has been called */
	DROP = 3,     /* packet.reason says why */
};

enum packet_flags {
	PACKET_FIRST_FRAGMENT = 1 << 0,
	PACKET_LATER_FRAGMENT = 1 << 1, /* has no transport header */
	PACKET_ICMP_ERROR = 1 << 2,
	PACKET_TRANSLATED = 1 << 3, /* .to is what the packet must become */
	PACKET_TUNNELLED = 1 << 4,  /* .tunnel_node sent it here in VXLAN */
	PACKET_ENTER = 1 << 5,      /* the translation is new and not in its table yet */
	PACKET_RELATED = 1 << 6,    /* an ICMP error about a flow that conntrack has */
	PACKET_HOST = 1 << 7,       /* this node's own stack sends it */
	PACKET_NETWORK = 1 << 8,    /* translated, and the uplink has brought it */
	PACKET_DIRECT = 1 << 9,     /* of a flow that went by a Service until now */
	PACKET_AUDITED = 1 << 10,   /* allowed; .reason, .direction and .rule say what would deny it */
	PACKET_DSR = 1 << 11,       /* travels with what the client has asked for: .asked (lib/dsr.h) */
	PACKET_SORTED = 1 << 12,    /* comes back from the sorter */
};

/* Where lib/route.h sends it. */
enum destination {
	TO_STACK = 0, /* own node, or beyond the cluster without masquerading */
	TO_ENDPOINT,  /* .ifindex_out: host side of the pod's veth */
	TO_NODE,      /* .node_out */
	TO_WORLD,
	TO_NOBODY, /* .unreachable: the drop reason */
};

struct packet {
	struct tuple tuple;         /* conntrack's: after DNAT, before SNAT */
	struct tuple to;            /* what the headers become, if PACKET_TRANSLATED */
	struct address asked;       /* destination before DNAT */
	id64 rule, set, peer_class; /* of the policy decision, for the event */
	id64 service;
	id64 node_out;
	id64 tunnel_node;
	__u32 ifindex_out;
	__u32 epoch;           /* policy epoch read before the decision */
	__be32 identification; /* of a fragment */
	__be16 asked_port;
	__u16 transport; /* offset of the transport header */
	__u16 flags;     /* enum packet_flags */
	__u16 mtu;       /* of the way on, where the reason is DROP_TOO_LARGE */
	__u8 family;     /* 4 or 6 */
	__u8 hop_limit;
	__u8 tcp_flags;
	__u8 icmp_type, icmp_code;
	__u8 destination; /* enum destination */
	__u8 unreachable; /* enum drop_reason */
	__u8 reason;      /* enum drop_reason, where the verdict is DROP or the packet audited */
	__u8 direction;   /* enum policy_direction, where policy decided */
} ALIGNED;

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ETH_HLEN 14

static __always_inline enum verdict drop(struct packet *p, enum drop_reason reason)
{
	p->reason = reason;
	return DROP;
}

/* A SYN without ACK: the one packet that always opens a flow. */
static __always_inline bool packet_is_syn(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* From the network to the network again: the other end must see this node, which the
 * answer comes back to. */
static __always_inline bool packet_returns(const struct packet *p)
{
	return p->flags & PACKET_NETWORK && (p->destination == TO_NODE || p->destination == TO_WORLD);
}

/* The bytes [offset, offset + size) of the packet, or NULL if it is shorter. Pulls
 * them into the linear part if they are not there, which voids older pointers. */
static __always_inline void *packet_header(struct __sk_buff *skb, __u32 offset, __u32 size)
{
	void *start = (void *)(long)skb->data + offset;

	barrier_var(start); /* the verifier knows the bounds of this register only */
	if (start + size > (void *)(long)skb->data_end) {
		if (bpf_skb_pull_data(skb, offset + size)) return NULL;
		start = (void *)(long)skb->data + offset;
		barrier_var(start);
		if (start + size > (void *)(long)skb->data_end) return NULL;
	}
	return start;
}

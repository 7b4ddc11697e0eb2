/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a program knows of its node: const volatile data, set once at load. */
#pragma once
#include "address.h"

/* Transports by which a backend elsewhere answers a client of the world itself. */
enum dsr_transports { DSR_TCP = 1 << 0 };

enum tunnel_mode { TUNNEL_NONE = 0, TUNNEL_VXLAN = 1 };

struct node_config {
	struct address ipv4, ipv6; /* node's InternalIPs, all zero where it has none */
	id64 node;                 /* own node id */
	__u64 netns_cookie;        /* of the node's own network namespace */
	__u32 uplink;              /* ifindex */
	__u32 vni;
	__be16 tunnel_port;
	__u8 tunnel_mode;                 /* enum tunnel_mode */
	__u8 masquerade;                  /* 1: translate what leaves for the world */
	__u16 nat_port_min, nat_port_max; /* masqueraded ports, inclusive */
	__u8 refuse_denied;               /* 1: answer what policy denies */
	__u8 dsr;                         /* enum dsr_transports */
	__u8 pad[2];
	__u32 sorter;  /* ifindex of the device that lib/sort.h sends to; 0: there is none */
	__u64 seed[4]; /* secret and odd, the same as long as maps are pinned: lib/seen.h */
};
_Static_assert(sizeof(struct node_config) == 104, "node_config");

enum packet_mark {
	HEDDLE_MARK = 0x4845444c,   /* Heddle has judged it and sent it on: to_netdev lets it out */
	HEDDLE_SORTED = 0x4845444d, /* it comes back from the sorter, its source proven before */
};

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* drops: per-CPU array, reason -> packets and bytes; exact.
 * events: ring buffer of struct event; lost records are counted in drops under
 * DROP_EVENT_LOST, nothing but observation depends on them.
 * Writer: lib/finish.h. Reader: src/kernel/events.ts.
 * Numbers leave the process: append only. */
#pragma once
#include "address.h"

enum drop_reason {
	DROP_NONE = 0,
	DROP_PARSE = 1,          /* truncated or malformed header */
	DROP_ETHERTYPE = 2,      /* neither IPv4 nor IPv6 */
	DROP_MULTICAST = 3,      /* multicast or broadcast destination */
	DROP_MAPPED_ADDRESS = 4, /* IPv6 packet with an IPv4-mapped address */
	DROP_SOURCE = 5,         /* a pod sent from an address that is not its own */
	DROP_FRAGMENT = 6,       /* a fragment before its first */
	DROP_POLICY_EGRESS = 7,
	DROP_POLICY_INGRESS = 8,
	DROP_NO_ENDPOINT = 9,    /* unallocated address of a pod CIDR */
	DROP_NO_BACKEND = 10,    /* Service without endpoints; refused */
	DROP_NO_FRONTEND = 11,   /* address of the Service CIDR without such a port */
	DROP_NO_NEXTHOP = 12,    /* route to a node that has no nexthop */
	DROP_TUNNEL_SOURCE = 13, /* outer source is no known node */
	DROP_TUNNEL_INNER = 14,  /* inner source does not belong to the outer one */
	DROP_TUNNEL_FORGED = 15, /* a pod sent to a node's tunnel port */
	DROP_BARE_SOURCE = 16,   /* outside the tunnel with a source that must not be bare */
	DROP_TRANSLATIONS_FULL = 17,
	DROP_NAT_PORTS = 18, /* no free port to masquerade with */
	DROP_FLOWS_FULL = 19,
	DROP_HEADER_WRITE = 20,     /* a helper refused to rewrite the packet */
	DROP_NOT_READY = 21,        /* the endpoint's policy is not in force yet */
	DROP_IP_OPTIONS = 22,       /* extension headers or options beyond the bound */
	DROP_EVENT_LOST = 23,       /* not a packet: events that found the ring full */
	DROP_TUNNEL_ECN = 24,       /* congestion marked outside, inner cannot tell (RFC 6040 4.2) */
	DROP_NO_LOCAL_BACKEND = 25, /* Service without endpoints here, which its traffic policy wants */
	DROP_SOURCE_RANGE = 26,     /* Service that does not serve this client */
	DROP_NO_PORT = 27,          /* Service without such a port; refused */
	DROP_TOO_LARGE = 28,        /* for the way to a backend elsewhere; Packet Too Big */
	DROP_HOP_LIMIT = 29,        /* used up on the way to a backend elsewhere; Time Exceeded */
	DROP_PORT_IN_USE = 30,      /* not a packet: a bind to a port that a Service has */
	DROP_AUDIT_EGRESS = 31,     /* not a drop: what audited policies let begin and would deny */
	DROP_AUDIT_INGRESS = 32,
	DROP_ANSWER_LIMIT = 33, /* not a packet: a dropped one was not answered, there are too many */
	DROP_REASONS = 34,      /* how many; grows at the end */
};

/* EVENT_AUDIT: the packet passed; reason, direction, rule and set are those of the drop that it would be. */
enum event_type { EVENT_DROP = 1, EVENT_AUDIT = 2 };

enum hook {
	HOOK_FROM_POD = 1,
	HOOK_TO_POD = 2,
	HOOK_FROM_NETDEV = 3,
	HOOK_TO_NETDEV = 4,
	HOOK_SOCK = 5,
};

struct drop_count {
	__u64 packets, bytes;
};
_Static_assert(sizeof(struct drop_count) == 16, "drop_count");

struct event {
	__u64 time_ns; /* monotonic */
	struct address source, destination;
	__be16 source_port, destination_port;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 type;      /* enum event_type */
	__u8 reason;    /* enum drop_reason */
	__u8 hook;      /* enum hook */
	__u8 direction; /* enum policy_direction where policy decided, else 0 */
	__u8 pad[2];
	__u32 ifindex;
	__u32 length; /* bytes of the packet */
	__u32 epoch;
	id64 rule;       /* that decided; 0: the set's policies isolate */
	id64 set;        /* policy set that decided, else 0 */
	id64 peer_class; /* class of the other end, where policy decided */
	id64 pod;        /* local endpoint, else 0 */
	id64 service;    /* frontend's service, else 0 */
	__u8 spare[8];
};
_Static_assert(sizeof(struct event) == 112, "event");

#ifdef __bpf__
#define DROPS_CAPACITY 64 /* room for reasons to come, so that the map keeps its size */
_Static_assert(DROP_REASONS <= DROPS_CAPACITY, "drops");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROPS_CAPACITY);
	__type(key, __u32);
	__type(value, struct drop_count);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* bytes: 8,000 events, and the agent's memory has them twice */
} events SEC(".maps");
#endif

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* translations: directed tuple -> rewritten tuple. A translated flow has two
 * entries, forward and reverse, each the other's inverse. Host flows to the
 * world enter too, unchanged, so that a masqueraded port never collides with a
 * socket of the node. Plain hash: what is established is never evicted; where it is full, a new
 * one takes the place of the oldest of `openings` that is still half-open, or is
 * refused and counted. Writer: lib/nat.h; the timer of hooks/collect.bpf.c deletes what is idle, also
 * without the agent. Readers: the agent, trace. */
#pragma once
#include "address.h"

struct tuple {
	struct address source, destination;
	__be16 source_port, destination_port; /* ICMP echo: the id, and 0 */
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct tuple) == 40, "tuple");

enum translation_flags {
	TRANSLATION_REVERSE = 1 << 0,
	TRANSLATION_REPLIED = 1 << 1,
	TRANSLATION_CLOSING = 1 << 2, /* FIN or RST seen */
	TRANSLATION_HOST = 1 << 3,    /* belongs to the node's own stack */
	TRANSLATION_OPENING = 1 << 4, /* forward: entered by a SYN, and the client has sent no ACK */
	TRANSLATION_DSR = 1 << 5,     /* the node that the client asks sees no answers (lib/dsr.h) */
};

struct translation {
	struct tuple to; /* the packet after rewriting */
	__u32 flags;     /* enum translation_flags */
	__u32 pad;
	__u64 seen_ns; /* coarse monotonic, written at most once a second */
	id64 service;  /* frontend's service, 0 for masquerading */
	__u8 spare[8];
};
_Static_assert(sizeof(struct translation) == 72, "translation");

/* nat_kinds: what `translations` may hold, so that it need not be asked for the
 * rest. Writer: lib/nat.h, before it enters one; never taken back. The loader sets all where
 * it finds translations without this map. Reader: lib/between_nodes.h. */
struct nat_kinds {
	__u32 between_nodes; /* 1: this node's address at one end, another node's at the other */
};
_Static_assert(sizeof(struct nat_kinds) == 4, "nat_kinds");

/* openings: a ring of the forward keys of half-open TCP connections that were entered last; opening_ends: how
 * many were ever written, and how many of them are no longer to be given up. Readers and writers:
 * lib/openings.h. */
#define OPENINGS 65536

struct opening_ends {
	__u64 newest, oldest;
};
_Static_assert(sizeof(struct opening_ends) == 16, "opening_ends");

/* fragments: LRU, first fragment -> ports, so that later ones find their flow. Where a later one came
 * before it, the datagram's pieces go by the sorter (lib/sort.h): whichever enters first decides for all. */
struct fragment_key {
	struct address source, destination;
	__be32 identification;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "fragment_key");

struct fragment {
	__be16 source_port, destination_port;
	__u8 sorting; /* 1: by the sorter, and there are no ports */
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment) == 8, "fragment");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct tuple);
	__type(value, struct translation);
} translations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_kinds);
} nat_kinds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OPENINGS);
	__type(key, __u32);
	__type(value, struct tuple);
} openings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct opening_ends);
} opening_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} fragments SEC(".maps");
#endif

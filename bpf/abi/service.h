/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* frontends: (address, port, protocol) -> lists of backends; backends: the slots
 * 0..count-1 of a list, sorted by address, then port. A list is immutable: a changed
 * list is a new id, written in full before a frontend points to it, so no packet
 * sees half of one. (address, 0, 0) says that the address is a Service's with every
 * port: what asks for one that is no frontend is refused.
 * slot_tables: SLOT_TABLE_SIZE slots of a list, in chunks, for Services that are balanced by
 * weights or by Maglev; a list's table never changes, as the list does not, and is
 * there before a frontend names the list with FRONTEND_SLOT_TABLE.
 * source_ranges: which clients may ask, of frontends with FRONTEND_SOURCE_RANGES.
 * Writer: the agent. Readers: lib/service.h, trace.
 * loads: connections of a slot of a list that a frontend with FRONTEND_BY_LOAD names, as the
 * agent counted them last, and those begun since. A slot that is missing was not counted yet.
 * Writers: the agent, lib/service.h. Reader: lib/service.h.
 * turns: whose turn it is in a list of a frontend with FRONTEND_IN_TURN, LRU: what is pushed
 * out starts anywhere. Writer and reader: lib/service.h.
 * affinity: the backend that a client was given, LRU. It stands while the list has
 * that backend and the client has come back within the frontend's affinity_seconds.
 * Writer and reader: lib/service.h. Readers: the agent, trace.
 * sock_backends, sock_frontends: what a socket hook chose, LRU.
 * Writer and reader: hooks/sock.bpf.c. */
#pragma once
#include "address.h"

struct frontend_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct frontend_key) == 20, "frontend_key");

enum frontend_flags {
	FRONTEND_EXTERNAL =
	    1 << 0, /* clients outside the cluster may ask, and by the network pods elsewhere, as such */
	FRONTEND_INTERNAL_DROPS = 1 << 1, /* no backend for a client inside: drop, not refuse */
	FRONTEND_EXTERNAL_DROPS = 1 << 2, /* the same for one outside */
	FRONTEND_SOURCE_RANGES = 1 << 3,  /* only clients that source_ranges has */
	FRONTEND_BY_SOURCE = 1 << 4,      /* the client's address decides, not chance */
	FRONTEND_IN_TURN = 1 << 5,        /* one backend after the other */
	FRONTEND_SLOT_TABLE = 1 << 6,     /* the number leads into the list's table, not the list */
	FRONTEND_BY_LOAD = 1 << 7, /* of two by chance, the one with fewer connections for its weight */
};

struct frontend {
	id64 backend_list;  /* for clients inside the cluster; 0 where count is 0 */
	__u32 count;        /* 0: refuse */
	__u32 flags;        /* enum frontend_flags */
	id64 service;       /* id of namespace/name:port, for events, source_ranges and affinity */
	id64 external_list; /* for clients outside; 0 where external_count is 0 */
	__u32 external_count;
	__u32 affinity_seconds; /* 0: every connection is a new choice */
	__u8 spare[8];
};
_Static_assert(sizeof(struct frontend) == 48, "frontend");

struct backend_key {
	id64 backend_list;
	__u32 slot;
	__u32 pad;
};
_Static_assert(sizeof(struct backend_key) == 16, "backend_key");

struct backend {
	struct address address;
	__be16 port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct backend) == 24, "backend");

#define SLOT_TABLE_SIZE 16381 /* a prime, as Maglev asks */
#define SLOT_CHUNK_SIZE 964   /* of 17 chunks; an entry then takes 2 KiB of the kernel */

struct slot_chunk_key {
	id64 backend_list;
	__u32 chunk; /* has the slots from chunk * SLOT_CHUNK_SIZE on */
	__u32 pad;
};
_Static_assert(sizeof(struct slot_chunk_key) == 16, "slot_chunk_key");

struct slot_chunk {
	__u16 slots[SLOT_CHUNK_SIZE]; /* of `backends`; 0 beyond the table's end */
};
_Static_assert(sizeof(struct slot_chunk) == 1928, "slot_chunk");

struct load {
	__u64 load; /* connections * step */
	__u64 step; /* LOAD_SCALE / weight of the backend */
};
_Static_assert(sizeof(struct load) == 16, "load");

#define LOAD_SCALE 65536

struct turn_key {
	id64 backend_list;
};
_Static_assert(sizeof(struct turn_key) == 8, "turn_key");

struct turn {
	__u32 next;
};
_Static_assert(sizeof(struct turn) == 4, "turn");

#define SOURCE_RANGE_FIXED_BITS 96 /* pad and service */

struct source_range_key {
	__u32 prefix_length; /* bits: SOURCE_RANGE_FIXED_BITS and those of the address */
	__u32 pad;
	id64 service;
	struct address address;
};
_Static_assert(sizeof(struct source_range_key) == 32, "source_range_key");

struct source_range {
	__u32 allowed; /* 1 */
};
_Static_assert(sizeof(struct source_range) == 4, "source_range");

/* One client of one Service's port: what a packet comes from, or the network
 * namespace of a socket, which has no address yet. */
struct affinity_key {
	id64 service;
	struct address address; /* all zero for a socket */
	__u64 netns_cookie;     /* 0 for a packet */
	__u8 family;            /* 4 or 6 */
	__u8 pad[7];
};
_Static_assert(sizeof(struct affinity_key) == 40, "affinity_key");

struct affinity {
	struct address address; /* the backend's */
	__be16 port;
	__u8 pad[2];
	__u32 slot;    /* where a list had it last */
	__u64 seen_ns; /* when it was chosen last, coarse monotonic */
};
_Static_assert(sizeof(struct affinity) == 32, "affinity");

/* What a socket calls the peer (sock_backends: a frontend; sock_frontends: a backend). */
struct sock_peer_key {
	__u64 socket_cookie;
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 pad[5];
};
_Static_assert(sizeof(struct sock_peer_key) == 32, "sock_peer_key");

struct sock_peer {
	struct address address;
	__be16 port;
	__u8 pad[6];
	id64 backend_list; /* the list it was chosen from: another list, another choice */
};
_Static_assert(sizeof(struct sock_peer) == 32, "sock_peer");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072); /* the addresses among them */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend_key);
	__type(value, struct frontend);
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8704); /* 512 lists: 17 MiB of the kernel when it is full */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct slot_chunk_key);
	__type(value, struct slot_chunk);
} slot_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct backend_key);
	__type(value, struct load);
} loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct turn_key);
	__type(value, struct turn);
} turns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_range_key);
	__type(value, struct source_range);
} source_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
} sock_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
} sock_frontends SEC(".maps");
#endif

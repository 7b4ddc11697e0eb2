/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* frontends: (VIP, port, protocol) -> list of backends; backends: its slots
 * 0..count-1. A list is immutable: a changed list is a new id, written in full
 * before the frontend points to it, so no packet sees half of one.
 * Writer: the agent. Readers: lib/service.h, trace.
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

struct frontend {
	id64 backend_list; /* 0 where count is 0 */
	__u32 count;       /* 0: refuse */
	__u32 flags;       /* 0 */
	id64 service;      /* id of namespace/name:port, for events */
};
_Static_assert(sizeof(struct frontend) == 24, "frontend");

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
	__uint(max_entries, 65536);
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

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Peer classes: addresses partitioned by which peer selectors of the policies
 * that matter on this node they match, and by realm.
 * classes: exact addresses; class_prefixes: longest prefix, looked up on a miss.
 * class_prefixes always holds ::/0 and ::ffff:0:0/96. Writer: the agent.
 * Readers: lib/policy.h, trace. A class id never changes its meaning. */
#pragma once
#include "address.h"

enum realm {
	REALM_WORLD = 1,
	REALM_POD = 2,
	REALM_NODE = 3,      /* another node's address */
	REALM_OWN_HOST = 4,  /* this node's own address */
	REALM_POD_RANGE = 5, /* of a pod CIDR, of no pod that is known */
};

struct class_key {
	struct address address;
};
_Static_assert(sizeof(struct class_key) == 16, "class_key");

struct peer_class {
	id64 class_id;
	__u32 realm; /* enum realm */
	__u32 pad;
};
_Static_assert(sizeof(struct peer_class) == 16, "peer_class");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct class_key);
	__type(value, struct peer_class);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct peer_class);
} class_prefixes SEC(".maps");
#endif

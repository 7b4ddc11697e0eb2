/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* policies: (set, direction, level, scope, protocol, port) -> verdict.
 * A longest-prefix trie whose tail is (protocol, port), so that "all protocols"
 * and "all ports" are shorter prefixes of the same key:
 *
 *   |<---------------- POLICY_FIXED_BITS ---------------->| 16 | 0..16 |
 *   | direction level pad | set          | scope          |proto| port |
 *
 * Lookup order is class, realm, any; the first level that has a match decides;
 * none: isolated, deny. scope is the class id, the realm, or 0. For ICMP, port
 * is type << 8 | code. Sets are immutable but for classes that come and go: a
 * changed set is a new id. Writer: the agent. Readers: lib/policy.h, trace. */
#pragma once
#include "address.h"

enum policy_direction { DIRECTION_EGRESS = 1, DIRECTION_INGRESS = 2 };
enum policy_verdict { VERDICT_ALLOW = 1, VERDICT_DENY = 2 };

/* POLICY_AUDIT: allowed, and told (event.h EVENT_AUDIT), for audited policies would deny it: by
 * the rule, or, where that is 0, since they isolate. */
enum policy_flags { POLICY_AUDIT = 1 << 0 };

#define POLICY_FIXED_BITS 160   /* direction .. scope */
#define POLICY_PROTOCOL_BITS 16 /* protocol and its pad */

struct policy_key {
	__u32 prefix_length; /* bits */
	__u8 direction;      /* enum policy_direction */
	__u8 level;          /* one of enum policy_levels (endpoint.h) */
	__u8 pad[2];
	id64 set;
	__u64 scope;
	__u8 protocol;
	__u8 pad2;
	__be16 port;
	__u8 pad3[4]; /* beyond every prefix */
};
_Static_assert(sizeof(struct policy_key) == 32, "policy_key");

struct policy_entry {
	__u8 verdict; /* enum policy_verdict; anything else denies */
	__u8 flags;   /* enum policy_flags */
	__u16 l7;     /* 0; a program that does not know the value denies */
	__u32 pad;
	id64 rule;
};
_Static_assert(sizeof(struct policy_entry) == 16, "policy_entry");

/* policy_epoch: array of one. The agent bumps it after the tables are written,
 * if something that was allowed may now be denied, or a route has moved; a
 * conntrack entry of another epoch is judged again (lib/conntrack.h). */
struct policy_epoch {
	__u32 epoch;
};
_Static_assert(sizeof(struct policy_epoch) == 4, "policy_epoch");

/* rule_uses: when a rule last decided about a flow, of the rules that the agent has entered. Only
 * what is judged counts, not each packet of a known flow. Writers: the agent enters and deletes,
 * lib/policy.h writes used_ns, at most once a second. Reader: the agent (`heddle policy unused`). */
struct rule_use_key {
	id64 rule;
};
_Static_assert(sizeof(struct rule_use_key) == 8, "rule_use_key");

struct rule_use {
	__u64 since_ns; /* counted from then on; monotonic */
	__u64 used_ns;  /* coarse monotonic; 0: not yet */
	id64 meaning;   /* of the rule's text: one that says something else begins anew */
};
_Static_assert(sizeof(struct rule_use) == 24, "rule_use");

#ifdef __bpf__
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rule_use_key);
	__type(value, struct rule_use);
} rule_uses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct policy_key);
	__type(value, struct policy_entry);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct policy_epoch);
} policy_epoch SEC(".maps");
#endif

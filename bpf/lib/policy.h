/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Policy: may the originator of a flow send to its target? Egress of the
 * originator and ingress of the target are judged, each where it is a pod of this
 * node. In this order, for each:
 *   - the pod is not ready: DROP_NOT_READY;
 *   - no set: allowed;
 *   - the first of class, realm, any that has an entry decides; none: denied with
 *     rule 0. DROP_POLICY_EGRESS, DROP_POLICY_INGRESS.
 * Always allowed: a pod to itself, and own host to a pod.
 * On a denial the packet names direction, set, class and rule; so it does, as PACKET_AUDITED, on
 * what passes although audited policies would deny it. */
#pragma once
#include "../abi/class.h"
#include "../abi/policy.h"
#include "clock.h"
#include "idle.h" /* SECOND_NS */
#include "parse.h"
#include "route.h"

#define POLICY_LOOKUP_BITS (POLICY_FIXED_BITS + POLICY_PROTOCOL_BITS + 16)

/* Port as policies know it: ICMP's is type << 8 | code. What ICMP answers is an echo request. */
static __always_inline __be16 policy_port(const struct packet *p, bool reversed)
{
	if (p->tuple.protocol == IPPROTO_ICMP)
		return bpf_htons(reversed ? ICMP_ECHO_REQUEST << 8 : p->icmp_type << 8 | p->icmp_code);
	if (p->tuple.protocol == IPPROTO_ICMPV6)
		return bpf_htons(reversed ? ICMPV6_ECHO_REQUEST << 8 : p->icmp_type << 8 | p->icmp_code);
	return reversed ? p->tuple.source_port : p->tuple.destination_port;
}

static __always_inline const struct peer_class *policy_class(const struct address *peer)
{
	const struct peer_class *class;
	ALIGNED struct class_key key;
	struct prefix prefix;

	address_copy(&key.address, peer);
	class = bpf_map_lookup_elem(&classes, &key);
	if (class) return class;
	address_to_prefix(&prefix, peer);
	return bpf_map_lookup_elem(&class_prefixes, &prefix);
}

/* The entry of one level, if the set uses it and has one. */
static __always_inline const struct policy_entry *policy_level(struct policy_key *key, __u8 levels,
							       __u8 level, __u64 scope)
{
	if (!(levels & level)) return NULL;
	key->prefix_length = POLICY_LOOKUP_BITS;
	key->level = level;
	key->scope = scope;
	return bpf_map_lookup_elem(&policies, key);
}

static __always_inline enum verdict policy_deny(struct packet *p, enum policy_direction direction)
{
	p->direction = direction;
	return drop(p, direction == DIRECTION_EGRESS ? DROP_POLICY_EGRESS : DROP_POLICY_INGRESS);
}

/* The set of `key` is overwritten: the stack has no room for another key. */
static __always_inline void policy_note_use(struct policy_key *key, id64 rule)
{
	struct rule_use *use;
	__u64 now = clock_ns();

	key->set = rule;
	use = bpf_map_lookup_elem(&rule_uses, &key->set);
	if (use && now - use->used_ns >= SECOND_NS) use->used_ns = now;
}

/* One direction. `reversed`: the packet is an answer, its destination the originator. */
__noinline int policy_judge(struct packet *p, bool reversed, enum policy_direction direction)
{
	struct policy_key key = {};
	const struct policy_entry *entry = NULL;
	const struct address *pod, *peer;
	const struct endpoint *endpoint;
	const struct peer_class *class;
	__u8 levels;

	if (!p) return DROP;
	if ((direction == DIRECTION_EGRESS) != reversed) {
		pod = &p->tuple.source;
		peer = &p->tuple.destination;
	} else {
		pod = &p->tuple.destination;
		peer = &p->tuple.source;
	}
	endpoint = endpoint_of(pod);
	if (!endpoint || address_equal(pod, peer)) return NEXT;
	if (direction == DIRECTION_INGRESS && self_has(peer)) return NEXT;
	if (endpoint->isolated) {
		p->direction = direction;
		return drop(p, DROP_NOT_READY);
	}

	key.set = direction == DIRECTION_EGRESS ? endpoint->egress_set : endpoint->ingress_set;
	levels = direction == DIRECTION_EGRESS ? endpoint->egress_levels : endpoint->ingress_levels;
	if (!key.set) return NEXT;
	key.direction = direction;
	key.protocol = p->tuple.protocol;
	key.port = policy_port(p, reversed);
	p->set = key.set;
	p->peer_class = 0;
	class = policy_class(peer);
	if (class) {
		p->peer_class = class->class_id;
		entry = policy_level(&key, levels, LEVEL_CLASS, class->class_id);
		if (!entry) entry = policy_level(&key, levels, LEVEL_REALM, class->realm);
	}
	if (!entry) entry = policy_level(&key, levels, LEVEL_ANY, 0);
	p->rule = entry ? entry->rule : 0;
	if (p->rule) policy_note_use(&key, p->rule);
	if (!entry || entry->verdict != VERDICT_ALLOW || entry->l7) return policy_deny(p, direction);
	if (entry->flags & POLICY_AUDIT) {
		policy_deny(p, direction);
		p->flags |= PACKET_AUDITED;
	}
	return NEXT;
}

static __always_inline enum verdict policy_check(struct packet *p, bool reversed)
{
	enum verdict v;
	bool audited;

	p->flags &= ~PACKET_AUDITED;
	v = policy_judge(p, reversed, DIRECTION_EGRESS);
	audited = p->flags & PACKET_AUDITED;
	if (v == NEXT) v = policy_judge(p, reversed, DIRECTION_INGRESS);
	if (v == NEXT && audited) v = policy_judge(p, reversed, DIRECTION_EGRESS); /* which is named */
	return v;
}

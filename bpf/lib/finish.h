/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The only exit of a packet hook. PASS is TC_ACT_OK, REDIRECT is
 * TC_ACT_REDIRECT, DROP is TC_ACT_SHOT after its reason is counted in `drops`
 * and told in `events`. finish_audit counts and tells what passes, but would not if audited
 * policies were enforced: what conntrack has judged, not each packet of a flow. */
#pragma once
#include "../abi/policy.h"
#include "event.h"
#include "packet.h"
#include "route.h"

static __always_inline id64 event_pod(const struct tuple *tuple, bool from_pod)
{
	const struct endpoint *endpoint = endpoint_of(from_pod ? &tuple->source : &tuple->destination);

	return endpoint ? endpoint->pod : 0;
}

static __always_inline enum drop_reason finish_counter(const struct packet *p, enum event_type type)
{
	if (type == EVENT_AUDIT)
		return p->direction == DIRECTION_EGRESS ? DROP_AUDIT_EGRESS : DROP_AUDIT_INGRESS;
	return p->reason < DROPS_CAPACITY ? p->reason : DROP_NONE;
}

/* 0: a global function must return something. */
__noinline int finish_tell(struct __sk_buff *skb, struct packet *p, enum hook hook, enum event_type type)
{
	struct event *event;

	if (!p) return 0;
	drops_add(finish_counter(p, type), skb->len);
	event = event_reserve();
	if (!event) return 0;
	event->time_ns = bpf_ktime_get_ns();
	address_copy(&event->source, &p->tuple.source);
	address_copy(&event->destination, &p->tuple.destination);
	event->source_port = p->tuple.source_port;
	event->destination_port = p->tuple.destination_port;
	event->protocol = p->tuple.protocol;
	event->tcp_flags = p->tcp_flags;
	event->type = type;
	event->reason = p->reason;
	event->hook = hook;
	event->direction = p->direction;
	event->pad[0] = event->pad[1] = 0;
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	event->epoch = p->epoch;
	event->rule = p->rule;
	event->set = p->set;
	event->peer_class = p->peer_class;
	event->pod = event_pod(&p->tuple, hook == HOOK_FROM_POD);
	event->service = p->service;
	__builtin_memset(event->spare, 0, sizeof(event->spare));
	event_submit(event);
	return 0;
}

static __always_inline int finish(struct __sk_buff *skb, struct packet *p, enum hook hook, enum verdict v)
{
	if (v == REDIRECT) return TC_ACT_REDIRECT;
	if (v == PASS) return TC_ACT_OK;
	finish_tell(skb, p, hook, EVENT_DROP);
	return TC_ACT_SHOT;
}

static __always_inline void finish_audit(struct __sk_buff *skb, struct packet *p, enum hook hook)
{
	if (p->flags & PACKET_AUDITED) finish_tell(skb, p, hook, EVENT_AUDIT);
}

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Egress of a pod's host veth: what the node's stack sends to the pod. Redirected
 * packets do not come here. The stack's own packets are allowed by policy.h and
 * entered, so that the answers pass. */
#include "../lib/conntrack.h"
#include "../lib/finish.h"
#include "../lib/nat.h"
#include "../lib/rewrite.h"
#include "../lib/source.h"

static __always_inline enum verdict admit(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v;

	if (address_is_multicast(&p->tuple.destination)) return drop(p, DROP_MULTICAST);
	v = source_of_stack(skb, p);
	if (v == NEXT) fragment_remember(p);
	if (v == NEXT) v = nat_lookup(skb, p, NAT_STACK);
	if (v == NEXT) v = conntrack(p, skb->ifindex | FROM_STACK);
	if (v == NEXT) v = rewrite(skb, p);
	if (v == NEXT) finish_audit(skb, p, HOOK_TO_POD);
	return v;
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct packet p = { .destination = TO_STACK };
	enum verdict v = parse(skb, &p);

	if (v == NEXT && !conntrack_known(&p, skb->ifindex | FROM_STACK)) v = admit(skb, &p);
	if (v == NEXT) v = PASS;
	return finish(skb, &p, HOOK_TO_POD, v);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

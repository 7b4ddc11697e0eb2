/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ingress of a pod's host veth: what the pod sends. */
#include "../lib/conntrack.h"
#include "../lib/finish.h"
#include "../lib/forward.h"
#include "../lib/known.h"
#include "../lib/nat.h"
#include "../lib/refuse.h"
#include "../lib/sort.h"
#include "../lib/source.h"

/* The gateway of every pod is fe80::1, which nobody owns: what asks for it (RFC 4861)
 * comes from a link-local address or none, and goes to the stack. */
static __always_inline bool is_neighbour_discovery(const struct packet *p)
{
	const __u64 link_local = bpf_htonl(0xfe800000), one = (__u64)bpf_htonl(1) << 32;

	return p->tuple.protocol == IPPROTO_ICMPV6 && (p->icmp_type == 135 || p->icmp_type == 136) &&
	       p->hop_limit == 255 && address_word(&p->tuple.destination, 0) == link_local &&
	       address_word(&p->tuple.destination, 1) == one;
}

static __always_inline enum verdict admit(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v;

	if (address_is_multicast(&p->tuple.destination)) return drop(p, DROP_MULTICAST);
	if (is_neighbour_discovery(p)) return PASS;
	v = source_of_pod(skb, p);
	if (v == NEXT) v = sort_first(p);
	if (v == NEXT) v = nat_lookup_of_pod(skb, p, NAT_POD);
	if (v == NEXT) v = route_lookup(p);
	if (v == NEXT) v = nat_source(p);
	if (v == NEXT) v = conntrack(p, skb->ifindex);
	if (v == NEXT) v = nat_enter(skb, p);
	if (v == NEXT) finish_audit(skb, p, HOOK_FROM_POD);
	return v;
}

static __always_inline enum verdict receive(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = parse(skb, p);

	sort_return(skb, p);
	if (!sort_wants(v, p)) return v;
	v = source_of_pod(skb, p);
	return v == NEXT ? sort_early(p) : v;
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	if (forward_known(skb, 0) == REDIRECT) return TC_ACT_REDIRECT;

	struct packet p = {};
	enum verdict v = receive(skb, &p);

	if (v == NEXT && !conntrack_known(&p, skb->ifindex)) v = admit(skb, &p);
	if (v == NEXT) v = forward(skb, &p);
	return refuse_to_pod(skb, &p, finish(skb, &p, HOOK_FROM_POD, v));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Egress of the uplink: what this node's stack sends, its own and what it forwards
 * for pods. What Heddle has judged and redirected carries its mark; what goes from
 * node to node passes at once; nothing here is judged by policy.
 *
 * To another node's pod: in the tunnel, in VXLAN mode. To a Service, which a socket
 * hook has missed: to a backend. To the world: a pod's source becomes the node's;
 * the host's own flow is entered as it is, so that no masqueraded one takes its
 * port, and gets another port where that is too late; so it does towards a pod of
 * another node whom a client of the world reaches by that port. */
#include "../lib/between_nodes.h"
#include "../lib/finish.h"
#include "../lib/forward.h"
#include "../lib/nat.h"
#include "../lib/refuse.h"

/* The host's flow must be entered only if its port is one that masquerading may
 * choose, and the answer to a SYN from the world never: a flood of those would
 * fill the table. */
static __always_inline bool is_worth_entering(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->tuple.source_port);

	if (p->tcp_flags & TCP_RST || (p->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		return false;
	if (protocol_has_ports(p->tuple.protocol))
		return port >= self()->nat_port_min && port <= self()->nat_port_max;
	return nat_may_choose_port(p);
}

/* The host's own packet to the world leaves in any case. */
static __always_inline enum verdict enter_host(struct __sk_buff *skb, struct packet *p)
{
	if (!is_worth_entering(p)) return PASS;
	if (nat_source(p) != NEXT || nat_enter(skb, p) != NEXT) return PASS;
	return NEXT;
}

/* nat_claim takes no port from a socket that there is; this is the socket that came later. */
static __always_inline bool host_port_is_taken(const struct packet *p)
{
	ALIGNED struct tuple answer;

	if (!(p->flags & PACKET_HOST) || p->flags & (PACKET_TRANSLATED | PACKET_ICMP_ERROR)) return false;
	if (p->destination != TO_NODE || (p->tuple.protocol == IPPROTO_TCP && !packet_is_syn(p)))
		return false;
	tuple_reverse(&answer, &p->tuple);
	return translation_find(&answer);
}

static __always_inline enum verdict translate(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = nat_lookup(skb, p, p->flags & PACKET_HOST ? NAT_HOST : NAT_STACK);

	if (v == NEXT) v = route_lookup(p);
	if (v != NEXT) return v;
	if (p->destination == TO_NOBODY) return drop(p, p->unreachable);
	if (p->destination == TO_WORLD && p->flags & PACKET_HOST && !(p->flags & PACKET_TRANSLATED))
		return enter_host(skb, p);
	if (host_port_is_taken(p)) {
		tuple_copy(&p->to, &p->tuple);
		p->flags |= PACKET_TRANSLATED | PACKET_ENTER;
	}
	v = nat_source(p);
	return v == NEXT ? nat_enter(skb, p) : v;
}

static __always_inline enum verdict leave_to_node(struct __sk_buff *skb, struct packet *p)
{
	const struct nexthop *nexthop = nexthop_of(p->node_out, p->family);

	if (!nexthop) return drop(p, DROP_NO_NEXTHOP);
	if (!(p->flags & PACKET_TRANSLATED)) /* the kernel's route has the same nexthop */
		return tunnel_to_node(skb, &p->tuple, nexthop) ? drop(p, DROP_HEADER_WRITE) : PASS;
	return send_to_node(skb, &p->tuple, nexthop) == DROP ? drop(p, DROP_HEADER_WRITE) : REDIRECT;
}

static __always_inline enum verdict leave(struct __sk_buff *skb, struct packet *p)
{
	if (rewrite(skb, p) == DROP) return DROP;
	if (p->destination == TO_NODE) return leave_to_node(skb, p);
	if (p->destination == TO_ENDPOINT && p->flags & PACKET_TRANSLATED)
		return redirect_neigh(skb, p->ifindex_out, &p->tuple.destination);
	return PASS;
}

static __always_inline enum verdict parse_ours(struct __sk_buff *skb, struct packet *p)
{
	enum verdict v = parse_network(skb, p);

	if (v != NEXT) return PASS;
	if (self_has(&p->tuple.source))
		p->flags |= PACKET_HOST;
	else if (!endpoint_of(&p->tuple.source))
		return PASS;
	v = parse_transport(skb, p);
	if (v == NEXT) fragment_remember(p);
	return v == DROP && p->flags & PACKET_HOST ? PASS : v;
}

SEC("tc")
int to_netdev(struct __sk_buff *skb)
{
	if (skb->mark == HEDDLE_MARK || sent_between_nodes(skb)) return TC_ACT_OK;

	struct packet p = {};
	enum verdict v = parse_ours(skb, &p);

	if (v == NEXT) v = translate(skb, &p);
	if (v == NEXT) v = leave(skb, &p);
	return refuse_to_host(skb, &p, finish(skb, &p, HOOK_TO_NETDEV, v));
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

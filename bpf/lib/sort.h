/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Fragments in any order (docs/adr/0020): one that comes before the first of its datagram has no ports,
 * so nothing can be asked about it. It and all pieces of its datagram go by the sorter, a network
 * namespace whose stack puts the datagram together and cuts it again:
 *
 *   hook --self()->sorter--> | defragmented, forwarded, cut | --hooks/from_sorter--> the same hook, in order
 *
 * Their source is proven before they go and when they come back; everything else is asked only then.
 *
 * sort_first: for each packet whose source is proven. NEXT, or REDIRECT: it is a first fragment that
 *   later ones went before.
 * sort_wants: a later fragment before its first, which may go by the sorter once its source is proven.
 * sort_early: sends it there. NEXT: the first has just come, and the packet has its ports.
 * sort_cuts: a first fragment that does not fit its way, and that the sorter, whose route has the pods' MTU,
 *   may cut; sort_again: it and the later ones go there.
 * sort_return: what comes from the sorter. */
#pragma once
#include "node.h"
#include "parse.h"
#include "route.h"

static __always_inline enum verdict sort_send(void)
{
	bpf_redirect_peer(self()->sorter, 0);
	return REDIRECT;
}

/* The sorter's stack forwards from one host to another. */
static __always_inline bool sort_takes(const struct tuple *t)
{
	return !address_is_no_host(&t->source) && !address_is_no_host(&t->destination) &&
	       !address_is_link_local(&t->source) && !address_is_link_local(&t->destination);
}

static __always_inline bool sort_may(const struct packet *p)
{
	return self()->sorter && !(p->flags & PACKET_SORTED);
}

static __always_inline enum verdict sort_first(struct packet *p)
{
	if (!(p->flags & PACKET_FIRST_FRAGMENT) || fragment_enter(p, sort_may(p)) != REDIRECT) return NEXT;
	return sort_send();
}

static __always_inline bool sort_wants(enum verdict v, const struct packet *p)
{
	return v == DROP && p->reason == DROP_FRAGMENT && sort_may(p) && sort_takes(&p->tuple);
}

__noinline int sort_enter(struct packet *p)
{
	struct fragment sorting = { .sorting = 1 };
	ALIGNED struct fragment_key key;

	if (!p) return DROP;
	fragment_key_of(&key, p);
	if (!bpf_map_update_elem(&fragments, &key, &sorting, BPF_NOEXIST)) return REDIRECT;
	return fragment_find(p) == NEXT ? NEXT : REDIRECT;
}

static __always_inline enum verdict sort_early(struct packet *p)
{
	return sort_enter(p) == NEXT ? NEXT : sort_send();
}

/* Only IPv4 cuts on the way (RFC 8200 4.5), and not what says "don't fragment" (RFC 791 3.2). Of a
 * datagram whose first piece fits the others do too, as a rule: every sender makes the last one smaller. */
static __always_inline bool sort_cuts(struct __sk_buff *skb, enum verdict v, const struct packet *p)
{
	__be16 flags = 0;

	if (v != DROP || p->reason != DROP_TOO_LARGE || p->family != 4) return false;
	if (!(p->flags & PACKET_FIRST_FRAGMENT) || !sort_may(p) || !sort_takes(&p->tuple)) return false;
	bpf_skb_load_bytes(skb, ETH_HLEN + 6, &flags, sizeof(flags));
	return !(flags & bpf_htons(IP_FRAGMENT_NOT));
}

__noinline int sort_again(struct packet *p)
{
	const struct fragment sorting = { .sorting = 1 };
	ALIGNED struct fragment_key key;

	if (!p) return DROP;
	fragment_key_of(&key, p);
	address_copy(&key.destination, &p->asked);
	bpf_map_update_elem(&fragments, &key, &sorting, BPF_ANY);
	return sort_send();
}

static __always_inline void sort_return(struct __sk_buff *skb, struct packet *p)
{
	if (skb->mark != HEDDLE_SORTED) return;
	skb->mark = 0;
	bpf_skb_change_type(skb, 0); /* PACKET_HOST of linux/if_packet.h: its frame is not this device's */
	p->flags |= PACKET_SORTED;
}

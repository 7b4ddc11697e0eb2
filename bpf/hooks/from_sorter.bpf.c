/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Ingress of the sorter's device: datagrams that came in disorder, now in order. Each piece enters again
 * where its source was proven: a pod's address by its own veth, any other by the uplink. What else the
 * sorter's stack says (multicast reports, ICMP errors) is nobody's and ends here uncounted. */
#include "../lib/sort.h"

SEC("tc")
int from_sorter(struct __sk_buff *skb)
{
	struct packet p = {};
	const struct endpoint *endpoint;

	if (parse_network(skb, &p) != NEXT || !sort_takes(&p.tuple)) return TC_ACT_SHOT;
	endpoint = endpoint_of(&p.tuple.source);
	skb->mark = HEDDLE_SORTED;
	return bpf_redirect(endpoint ? endpoint->ifindex : self()->uplink, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

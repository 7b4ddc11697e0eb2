/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A node's cgroup: sockets that speak to a Service get a backend as they connect
 * or send, and see the Service's address in what they receive.
 *
 *   connect      a backend; a Service without endpoints refuses, and so does a Service's
 *                address that has no such port
 *   sendmsg      the same, and again the same backend while its list stands
 *   recvmsg, getpeername   backend -> the frontend that the socket spoke to
 *   bind         a port of this node that a Service serves the world by is in use
 *
 * A loopback address is a Service's for this node's own processes, not for a pod's.
 * An IPv4 address in an AF_INET6 socket is IPv4: its bytes are those of our
 * addresses. A refusal is counted and told like a dropped packet. What is to be dropped
 * in silence keeps the Service's address: its packets are. */
#include <bpf/bpf_endian.h>
#include "../abi/endpoint.h"
#include "../lib/event.h"
#include "../lib/node.h"
#include "../lib/service.h"

#define REFUSE 0
#define PROCEED 1

static __always_inline void peer_read(const struct bpf_sock_addr *ctx, bool ipv6, struct address *a)
{
	__u64 *words = __builtin_assume_aligned(a, 8);

	if (!ipv6) {
		address_from_ipv4(a, ctx->user_ip4);
		return;
	}
	words[0] = (__u64)ctx->user_ip6[1] << 32 | ctx->user_ip6[0];
	words[1] = (__u64)ctx->user_ip6[3] << 32 | ctx->user_ip6[2];
}

static __always_inline void peer_write(struct bpf_sock_addr *ctx, bool ipv6, const struct address *a,
				       __be16 port)
{
	__u64 high = address_word(a, 0), low = address_word(a, 1);

	ctx->user_port = port;
	if (!ipv6) {
		ctx->user_ip4 = low >> 32;
		return;
	}
	ctx->user_ip6[0] = high;
	ctx->user_ip6[1] = high >> 32;
	ctx->user_ip6[2] = low;
	ctx->user_ip6[3] = low >> 32;
}

static __always_inline void sock_key(struct bpf_sock_addr *ctx, struct sock_peer_key *key,
				     const struct address *a, __be16 port)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->socket_cookie = bpf_get_socket_cookie(ctx);
	address_copy(&key->address, a);
	key->port = port;
	key->protocol = ctx->protocol;
}

/* The pod's address of the family asked for, by its network namespace; a node
 * process's is the node's. */
static __always_inline const struct address *sock_source(struct bpf_sock_addr *ctx,
							 const struct address *peer)
{
	struct endpoint_cookie_key key = { .netns_cookie = bpf_get_netns_cookie(ctx) };
	const struct endpoint_addresses *pod = bpf_map_lookup_elem(&endpoint_cookie, &key);

	if (address_is_ipv4(peer)) return pod ? &pod->ipv4 : &self()->ipv4;
	return pod ? &pod->ipv6 : &self()->ipv6;
}

static __always_inline int sock_refuse(struct bpf_sock_addr *ctx, const struct address *peer, __be16 port,
				       enum drop_reason reason, id64 service)
{
	int error = reason == DROP_PORT_IN_USE ? EADDRINUSE : ECONNREFUSED;
	const struct address *source = sock_source(ctx, peer);
	const struct endpoint *endpoint = bpf_map_lookup_elem(&endpoints, source);
	struct event *event;

	bpf_set_retval(-error);
	drops_add(reason, 0);
	event = event_reserve();
	if (!event) return REFUSE;
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	address_copy(&event->source, source);
	address_copy(&event->destination, peer);
	event->destination_port = port;
	event->protocol = ctx->protocol;
	event->type = EVENT_DROP;
	event->reason = reason;
	event->hook = HOOK_SOCK;
	event->pod = endpoint ? endpoint->pod : 0;
	event->service = service;
	event_submit(event);
	return REFUSE;
}

/* Remembers what the socket calls its backend, and writes the backend. */
static __always_inline void sock_speak_to(struct bpf_sock_addr *ctx, bool ipv6, const struct address *backend,
					  __be16 backend_port, const struct sock_peer *frontend)
{
	struct sock_peer_key key;

	sock_key(ctx, &key, backend, backend_port);
	bpf_map_update_elem(&sock_frontends, &key, frontend, BPF_ANY);
	peer_write(ctx, ipv6, backend, backend_port);
}

static __always_inline const struct backend *
sock_choose(struct bpf_sock_addr *ctx, const struct frontend *frontend, const struct address *peer)
{
	struct backend_list list = { .id = frontend->backend_list, .count = frontend->count };
	struct affinity_key client = { .netns_cookie = bpf_get_netns_cookie(ctx) };
	const struct address *source = peer;

	client.family = address_is_ipv4(peer) ? 4 : 6;
	if (frontend->flags & FRONTEND_BY_SOURCE) source = sock_source(ctx, peer);
	return service_choose(frontend, &list, &client, source);
}

static __always_inline bool sock_is_of_pod(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) != self()->netns_cookie;
}

static __always_inline int sock_to_frontend(struct bpf_sock_addr *ctx, bool ipv6, bool sticky)
{
	const struct sock_peer *sent;
	const struct frontend *frontend;
	const struct backend *backend;
	struct sock_peer peer = {};
	struct sock_peer_key key;

	peer_read(ctx, ipv6, &peer.address);
	peer.port = ctx->user_port;
	frontend = service_frontend(&peer.address, peer.port, ctx->protocol);
	if (!frontend && !sticky && service_has(&peer.address))
		return sock_refuse(ctx, &peer.address, peer.port, DROP_NO_PORT, 0);
	if (frontend && address_is_loopback(&peer.address) && sock_is_of_pod(ctx)) return PROCEED;
	if (!frontend || !service_admits(frontend, sock_source(ctx, &peer.address))) return PROCEED;
	peer.backend_list = frontend->backend_list;
	if (sticky) {
		sock_key(ctx, &key, &peer.address, peer.port);
		sent = bpf_map_lookup_elem(&sock_backends, &key);
		if (sent && sent->backend_list == frontend->backend_list && frontend->count) {
			sock_speak_to(ctx, ipv6, &sent->address, sent->port, &peer);
			return PROCEED;
		}
	}
	backend = sock_choose(ctx, frontend, &peer.address);
	for (int attempt = 1; attempt < LIST_ATTEMPTS && !backend && frontend->count; attempt++) {
		frontend = service_frontend(&peer.address, peer.port, ctx->protocol);
		if (!frontend) return PROCEED;
		backend = sock_choose(ctx, frontend, &peer.address);
	}
	peer.backend_list = frontend->backend_list;
	if (!backend && frontend->flags & FRONTEND_INTERNAL_DROPS) return PROCEED;
	if (!backend) return sock_refuse(ctx, &peer.address, peer.port, DROP_NO_BACKEND, frontend->service);
	if (sticky) {
		struct sock_peer chosen = { .port = backend->port, .backend_list = frontend->backend_list };

		address_copy(&chosen.address, &backend->address);
		bpf_map_update_elem(&sock_backends, &key, &chosen, BPF_ANY);
	}
	sock_speak_to(ctx, ipv6, &backend->address, backend->port, &peer);
	return PROCEED;
}

static __always_inline int sock_from_backend(struct bpf_sock_addr *ctx, bool ipv6)
{
	const struct sock_peer *frontend;
	ALIGNED struct address peer;
	struct sock_peer_key key;

	peer_read(ctx, ipv6, &peer);
	sock_key(ctx, &key, &peer, ctx->user_port);
	frontend = bpf_map_lookup_elem(&sock_frontends, &key);
	if (frontend) peer_write(ctx, ipv6, &frontend->address, frontend->port);
	return PROCEED;
}

/* For one address of this node, at which the process would take a Service's port. */
static __always_inline int sock_bind_at(struct bpf_sock_addr *ctx, const struct address *own)
{
	const struct frontend *frontend = service_frontend(own, ctx->user_port, ctx->protocol);

	if (!frontend || !(frontend->flags & FRONTEND_EXTERNAL)) return PROCEED;
	return sock_refuse(ctx, own, ctx->user_port, DROP_PORT_IN_USE, frontend->service);
}

static __always_inline int sock_bind(struct bpf_sock_addr *ctx, bool ipv6)
{
	ALIGNED struct address at;
	bool every_ipv4;

	if (!ctx->user_port || sock_is_of_pod(ctx)) return PROCEED;
	peer_read(ctx, ipv6, &at);
	if (self_has(&at)) return sock_bind_at(ctx, &at);
	every_ipv4 = address_is_ipv4(&at) && !address_ipv4(&at);
	if (!every_ipv4 && !address_is_zero(&at)) return PROCEED;
	if (sock_bind_at(ctx, &self()->ipv4) == REFUSE) return REFUSE;
	return every_ipv4 ? PROCEED : sock_bind_at(ctx, &self()->ipv6);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	return sock_bind(ctx, false);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	return sock_bind(ctx, true);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return sock_to_frontend(ctx, false, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return sock_to_frontend(ctx, true, false);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return sock_to_frontend(ctx, false, true);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return sock_to_frontend(ctx, true, true);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return sock_from_backend(ctx, false);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return sock_from_backend(ctx, true);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return sock_from_backend(ctx, false);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return sock_from_backend(ctx, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

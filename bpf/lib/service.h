/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Services: which frontend an address, port and protocol is, and a backend of it for
 * a client: the one that the client had, where the Service has affinity and the list
 * still has that backend, else one by a number:
 *
 *   at random            any
 *   FRONTEND_BY_SOURCE   a hash of the client's address
 *   FRONTEND_IN_TURN     one more than the last
 *   FRONTEND_BY_LOAD     any two: the place whose backend has fewer connections for its weight
 *
 * which modulo SLOT_TABLE_SIZE is a place in the list's table where the frontend has
 * FRONTEND_SLOT_TABLE, else modulo its count a slot of the list. A list and its table are
 * complete before a frontend names them, so what is missing has just been replaced: who
 * chooses reads the frontend again, LIST_ATTEMPTS times in all. */
#pragma once
#include <bpf/bpf_endian.h>
#include "../abi/service.h"
#include "address.h"
#include "clock.h"
#include "idle.h" /* SECOND_NS */

#define LIST_PROBES 20 /* backends has 2^20 slots */

/* A CPU that loses its turn between two lookups can do so again. */
#define LIST_ATTEMPTS 4

/* The list that a client is given. */
struct backend_list {
	id64 id;
	__u32 count;
};

static __always_inline const struct frontend *service_frontend(const struct address *a, __be16 port,
							       __u8 protocol)
{
	ALIGNED struct frontend_key key = { .port = port, .protocol = protocol };

	address_copy(&key.address, a);
	return bpf_map_lookup_elem(&frontends, &key);
}

/* Every port of the address is a Service's, or nobody's. */
static __always_inline bool service_has(const struct address *a)
{
	return service_frontend(a, 0, 0);
}

static __always_inline bool service_admits(const struct frontend *frontend, const struct address *client)
{
	ALIGNED struct source_range_key key = { .prefix_length = SOURCE_RANGE_FIXED_BITS + 128 };

	if (!(frontend->flags & FRONTEND_SOURCE_RANGES)) return true;
	key.service = frontend->service;
	address_copy(&key.address, client);
	return bpf_map_lookup_elem(&source_ranges, &key);
}

static __always_inline const struct backend *list_slot(id64 list, __u32 slot)
{
	struct backend_key key = { .backend_list = list, .slot = slot };

	return bpf_map_lookup_elem(&backends, &key);
}

static __always_inline int affinity_compare(const struct affinity *a, const struct backend *b)
{
	return address_compare(&a->address, &b->address) ?: bpf_ntohs(a->port) - bpf_ntohs(b->port);
}

/* The slot that has the client's backend, found by halves from where it was; NULL
 * where the list has it no more. */
static __always_inline const struct backend *affinity_find(const struct backend_list *list,
							   struct affinity *known)
{
	__u32 low = 0, high = list->count, slot = known->slot;
	const struct backend *backend;

	for (int i = 0; i < LIST_PROBES && low < high; i++) {
		if (slot < low || slot >= high) slot = low + (high - low) / 2;
		backend = list_slot(list->id, slot);
		if (!backend) return NULL;

		int order = affinity_compare(known, backend);

		if (!order) {
			known->slot = slot;
			return backend;
		}
		if (order < 0)
			high = slot;
		else
			low = slot + 1;
		slot = high; /* outside, so that the next is in the middle */
	}
	return NULL;
}

/* The same on every node: both words, stirred as MurmurHash3 ends (fmix64). */
static __always_inline __u32 source_hash(const struct address *source)
{
	__u64 hash = address_word(source, 0) * 0x9e3779b97f4a7c15ULL + address_word(source, 1);

	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return hash >> 32;
}

static __always_inline __u32 list_turn(id64 list)
{
	struct turn_key key = { .backend_list = list };
	struct turn *known = bpf_map_lookup_elem(&turns, &key);
	struct turn first = { .next = bpf_get_prandom_u32() }; /* not all nodes at the same */

	if (known) return __sync_fetch_and_add(&known->next, 1);
	bpf_map_update_elem(&turns, &key, &first, BPF_NOEXIST);
	return first.next - 1;
}

static __always_inline __u32 table_slot(id64 list, __u32 count, __u32 number)
{
	__u32 at = number % SLOT_TABLE_SIZE;
	struct slot_chunk_key key = { .backend_list = list, .chunk = at / SLOT_CHUNK_SIZE };
	const struct slot_chunk *chunk = bpf_map_lookup_elem(&slot_tables, &key);

	at %= SLOT_CHUNK_SIZE;
	barrier_var(at); /* the verifier of Linux 6.1 does not know what a remainder is */
	return chunk && at < SLOT_CHUNK_SIZE ? chunk->slots[at] : number % count;
}

#define FRONTEND_BALANCED (FRONTEND_BY_SOURCE | FRONTEND_IN_TURN | FRONTEND_BY_LOAD | FRONTEND_SLOT_TABLE)

/* `hash`: with FRONTEND_BY_SOURCE. Global, so that the verifier looks at it once. */
__noinline int balanced_slot(id64 list, __u32 count, __u32 flags, __u32 hash)
{
	__u32 number = hash;

	if (!count) return 0;
	if (flags & FRONTEND_IN_TURN)
		number = list_turn(list);
	else if (!(flags & FRONTEND_BY_SOURCE))
		number = bpf_get_prandom_u32();
	return flags & FRONTEND_SLOT_TABLE ? table_slot(list, count, number) : number % count;
}

/* Two choices keep the fullest near the mean (Mitzenmacher, The Power of Two Choices in Randomized
 * Load Balancing, 2001), without a look at every backend. A function of its own for its stack: Linux 6.1
 * has 512 bytes for all that call each other, in pieces of 32. */
__noinline int less_loaded_slot(id64 list, __u32 count, __u32 slot, __u32 other)
{
	struct backend_key key = { .backend_list = list, .slot = slot };
	struct load *load, *others;

	if (other == slot) other = slot + 1 < count ? slot + 1 : 0;
	load = bpf_map_lookup_elem(&loads, &key);
	key.slot = other;
	others = bpf_map_lookup_elem(&loads, &key);
	if (load && others && others->load < load->load) {
		slot = other;
		load = others;
	}
	if (load) __sync_fetch_and_add(&load->load, load->step);
	return slot;
}

static __noinline const struct backend *service_new(const struct frontend *frontend,
						    const struct backend_list *list,
						    const struct address *source, __u32 *slot)
{
	__u32 flags = frontend->flags;

	if (!list->count) return NULL;
	if (flags & FRONTEND_BALANCED)
		*slot = balanced_slot(list->id, list->count, flags,
				      flags & FRONTEND_BY_SOURCE ? source_hash(source) : 0);
	else
		*slot = bpf_get_prandom_u32() % list->count;
	if (flags & FRONTEND_BY_LOAD)
		*slot = less_loaded_slot(list->id, list->count, *slot,
					 balanced_slot(list->id, list->count, flags, 0));
	return list_slot(list->id, *slot);
}

/* The backend of a client that comes back in time, or NULL. */
static __noinline const struct backend *service_known(const struct frontend *frontend,
						      const struct backend_list *list,
						      const struct affinity_key *client)
{
	struct affinity *known = bpf_map_lookup_elem(&affinity, client);
	__u64 now = clock_ns();
	const struct backend *backend;

	if (!known || (__s64)(now - known->seen_ns) > (__s64)(frontend->affinity_seconds * SECOND_NS))
		return NULL;
	backend = affinity_find(list, known);
	if (backend) known->seen_ns = now;
	return backend;
}

static __noinline void service_keep(const struct affinity_key *client, const struct backend *backend,
				    __u32 slot)
{
	struct affinity chosen = { .port = backend->port, .slot = slot, .seen_ns = clock_ns() };

	address_copy(&chosen.address, &backend->address);
	bpf_map_update_elem(&affinity, client, &chosen, BPF_ANY);
}

/* NULL where the list is empty. `client` but for its service, which is filled in; `source`
 * is the client's address, read of frontends with FRONTEND_BY_SOURCE only. Its parts are
 * functions beside each other: within each other they would exceed the stack of a hook. */
static __always_inline const struct backend *service_choose(const struct frontend *frontend,
							    const struct backend_list *list,
							    struct affinity_key *client,
							    const struct address *source)
{
	const struct backend *backend;
	__u32 slot;

	if (!frontend->affinity_seconds) return service_new(frontend, list, source, &slot);
	client->service = frontend->service;
	backend = service_known(frontend, list, client);
	if (backend) return backend;
	backend = service_new(frontend, list, source, &slot);
	if (backend) service_keep(client, backend, slot);
	return backend;
}

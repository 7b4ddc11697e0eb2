/* SPDX-License-Identifier: Apache-2.0 */
/* One request to the agent and its reply.
 *
 * Both ways a frame is a length (4 bytes, network order) and that many bytes. A request is JSON:
 *   {"command", "containerId", "netns", "ifname", "args", "path", "config"}, all strings.
 * A reply is one byte, the exit code, and the text for standard output. The other side is src/cni/server.ts.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REPLY_LENGTH_MAX (4u << 20)

enum exchange_end {
	EXCHANGE_DONE,
	AGENT_ABSENT,    /* nobody listens, or the agent died before it answered: worth another try */
	AGENT_SILENT,    /* no whole reply in time */
	EXCHANGE_FAILED, /* errno says why */
};

struct reply {
	int exit_code;
	char *output;
	size_t length;
};

/* `frame` includes the length. On EXCHANGE_DONE the output is valid until the next call. */
enum exchange_end agent_exchange(const char *socket_path, const char *frame, size_t length, int timeout_ms,
				 struct reply *reply);

/* CLOCK_MONOTONIC, milliseconds. */
long long now_ms(void);

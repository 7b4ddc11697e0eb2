// SPDX-License-Identifier: Apache-2.0
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

long long now_ms(void)
{
	struct timespec now;

	/* By a system call: the way without one takes page faults, for two calls. */
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static enum exchange_end wait_for(int fd, short events, long long deadline_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	for (;;) {
		long long left = deadline_ms - now_ms();
		int ready = left > 0 ? poll(&poll_fd, 1, (int)left) : 0;

		if (ready > 0) return EXCHANGE_DONE;
		if (ready == 0) return AGENT_SILENT;
		if (errno != EINTR) return EXCHANGE_FAILED;
	}
}

static enum exchange_end send_all(int fd, const char *bytes, size_t length, long long deadline_ms)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent >= 0) {
			bytes += sent;
			length -= (size_t)sent;
		} else if (errno == EAGAIN) {
			enum exchange_end end = wait_for(fd, POLLOUT, deadline_ms);

			if (end != EXCHANGE_DONE) return end;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return AGENT_ABSENT;
		} else if (errno != EINTR) {
			return EXCHANGE_FAILED;
		}
	}
	return EXCHANGE_DONE;
}

static enum exchange_end receive_all(int fd, char *bytes, size_t length, long long deadline_ms)
{
	while (length > 0) {
		ssize_t received = recv(fd, bytes, length, 0);

		if (received > 0) {
			bytes += received;
			length -= (size_t)received;
		} else if (received == 0 || errno == ECONNRESET) {
			return AGENT_ABSENT;
		} else if (errno == EAGAIN) {
			enum exchange_end end = wait_for(fd, POLLIN, deadline_ms);

			if (end != EXCHANGE_DONE) return end;
		} else if (errno != EINTR) {
			return EXCHANGE_FAILED;
		}
	}
	return EXCHANGE_DONE;
}

/* An ordinary reply needs no allocator. */
static char ordinary_output[4096];

static void free_output(char *output)
{
	if (output != ordinary_output) free(output);
}

static enum exchange_end receive_reply(int fd, long long deadline_ms, struct reply *reply)
{
	struct {
		uint32_t length;
		uint8_t exit_code;
	} __attribute__((packed)) head;
	enum exchange_end end = receive_all(fd, (char *)&head, sizeof(head), deadline_ms);

	if (end != EXCHANGE_DONE) return end;
	reply->length = ntohl(head.length);
	if (reply->length == 0 || reply->length > REPLY_LENGTH_MAX) {
		errno = EPROTO;
		return EXCHANGE_FAILED;
	}
	reply->exit_code = head.exit_code;
	reply->length -= sizeof(head.exit_code);
	reply->output = reply->length <= sizeof(ordinary_output) ? ordinary_output : malloc(reply->length);
	if (!reply->output) return EXCHANGE_FAILED;
	return receive_all(fd, reply->output, reply->length, deadline_ms);
}

static enum exchange_end exchange(int fd, const char *socket_path, const char *frame, size_t length,
				  int timeout_ms, struct reply *reply)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	long long deadline_ms = now_ms() + timeout_ms;
	enum exchange_end end;

	strncpy(address.sun_path, socket_path, sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		/* EAGAIN: the agent's backlog is full. */
		bool may_come = errno == ENOENT || errno == ECONNREFUSED || errno == EAGAIN;
		return may_come ? AGENT_ABSENT : EXCHANGE_FAILED;
	}
	end = send_all(fd, frame, length, deadline_ms);
	return end == EXCHANGE_DONE ? receive_reply(fd, deadline_ms, reply) : end;
}

enum exchange_end agent_exchange(const char *socket_path, const char *frame, size_t length, int timeout_ms,
				 struct reply *reply)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	enum exchange_end end = EXCHANGE_FAILED;
	int saved_errno;

	if (fd < 0) return end;
	*reply = (struct reply){ 0 };
	end = exchange(fd, socket_path, frame, length, timeout_ms, reply);
	saved_errno = errno;
	if (end != EXCHANGE_DONE) free_output(reply->output);
	close(fd);
	errno = saved_errno;
	return end;
}

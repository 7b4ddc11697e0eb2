// SPDX-License-Identifier: Apache-2.0
// Runs a CNI plugin as a runtime does and says how long that took: `exec-timer INPUT PROGRAM`, the request in
// the environment, INPUT on standard input. Prints "NANOSECONDS STATUS" and, after it, what the plugin
// printed. The clock runs from just before the spawn until the process is reaped. In C because a spawn from
// Node costs more than the plugin.

#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	static char output[1 << 16];
	posix_spawn_file_actions_t actions;
	size_t used = 0;
	int status, ends[2], input;
	ssize_t got;
	pid_t child;

	if (argc < 3) return 2;
	input = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (input < 0 || pipe2(ends, O_CLOEXEC) < 0) return 1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, input, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);

	long long started = now_ns();

	if (posix_spawn(&child, argv[2], &actions, NULL, argv + 2, environ)) return 1;
	close(ends[1]);
	while ((got = read(ends[0], output + used, sizeof(output) - used)) > 0)
		used += got;
	if (waitpid(child, &status, 0) < 0) return 1;
	printf("%lld %d\n%.*s", now_ns() - started, status, (int)used, output);
	return 0;
}

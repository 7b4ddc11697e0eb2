/* SPDX-License-Identifier: Apache-2.0 */
/* First process of every pod's sandbox: holds its namespaces, reaps orphans, ends on SIGTERM or SIGINT. */
#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static void reap(int signal)
{
	(void)signal;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

int main(void)
{
	struct sigaction ends = { .sa_handler = end };
	struct sigaction reaps = { .sa_handler = reap, .sa_flags = SA_NOCLDSTOP };

	sigaction(SIGTERM, &ends, NULL);
	sigaction(SIGINT, &ends, NULL);
	sigaction(SIGCHLD, &reaps, NULL);
	for (;;)
		pause();
}

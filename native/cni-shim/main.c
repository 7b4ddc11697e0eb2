// SPDX-License-Identifier: Apache-2.0
/* heddle-cni: the CNI plugin as a container runtime executes it (CNI specification 1.1.0). It hands its
 * environment and standard input to the node's agent and prints what the agent answers; only VERSION needs no
 * agent.
 *
 * Members of the network configuration that are read here:
 *   agentSocket       path of the agent's socket, default /run/heddle/cni.sock
 *   agentWaitSeconds  how long an absent agent is waited for, default 30, at most 300; STATUS never waits */
#include "agent.h"
#include "json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NEWEST_VERSION "1.1.0"
#define SUPPORTED_VERSIONS                                                                                   \
	"\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"" /* src/cni/protocol.ts has the same */
#define DEFAULT_SOCKET "/run/heddle/cni.sock"
#define CONFIG_LENGTH_MAX (1u << 20)
#define VARIABLE_LENGTH_MAX (64u << 10)
/* What is longer than an ordinary text is malloc'ed: the allocator's pages cost an ADD 20 us. */
#define ORDINARY_CONFIG_LENGTH 4096
#define ORDINARY_FRAME_LENGTH 16384
#define WAIT_SECONDS_DEFAULT 30
#define WAIT_SECONDS_MAX 300
#define RETRY_MS 20
/* The agent bounds each step of a request itself; this is for an agent that hangs. */
#define REPLY_TIMEOUT_MS 90000

/* CNI specification, section 5. */
enum cni_error {
	INVALID_ENVIRONMENT = 4,
	IO_FAILURE = 5,
	INVALID_CONFIGURATION = 7,
	TRY_AGAIN_LATER = 11,
	PLUGIN_NOT_AVAILABLE = 50,
};

struct request {
	const char *command;
	char *config; /* NUL-terminated */
	size_t config_length;
	char version[16]; /* that was asked for */
	char socket_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	unsigned wait_seconds;
};

static const struct {
	const char *name, *member;
} variables[] = {
	{ "CNI_COMMAND", "command" }, { "CNI_CONTAINERID", "containerId" },
	{ "CNI_NETNS", "netns" },     { "CNI_IFNAME", "ifname" },
	{ "CNI_ARGS", "args" },       { "CNI_PATH", "path" },
};
#define VARIABLE_COUNT (sizeof(variables) / sizeof(variables[0]))

static void print(const char *text, size_t length)
{
	while (length > 0) {
		ssize_t written = write(STDOUT_FILENO, text, length);

		if (written > 0) {
			text += written;
			length -= (size_t)written;
		} else if (errno != EINTR) {
			return; /* The runtime no longer listens; the exit code still says how it went. */
		}
	}
}

static char *append(char *out, const char *text)
{
	size_t length = strlen(text);

	memcpy(out, text, length);
	return out + length;
}

/* Error result of the specification. `details` is cut to what is worth reading. */
static int fail(const struct request *request, enum cni_error code, const char *msg, const char *details)
{
	char text[2048], *out = text;

	out = append(out, "{\"cniVersion\":");
	out = json_append_string(out, request->version, strlen(request->version));
	out = append(out, ",\"code\":");
	if (code >= 10) *out++ = (char)('0' + code / 10);
	*out++ = (char)('0' + code % 10);
	out = append(out, ",\"msg\":");
	out = json_append_string(out, msg, strlen(msg));
	out = append(out, ",\"details\":");
	out = json_append_string(out, details, strnlen(details, 200));
	out = append(out, "}\n");
	print(text, (size_t)(out - text));
	return 1;
}

static int print_versions(const struct request *request)
{
	char text[256], *out = text;

	out = append(out, "{\"cniVersion\":");
	out = json_append_string(out, request->version, strlen(request->version));
	out = append(out, ",\"supportedVersions\":[" SUPPORTED_VERSIONS "]}\n");
	print(text, (size_t)(out - text));
	return 0;
}

/* Room for CONFIG_LENGTH_MAX and one byte more, with what has been read so far. */
static bool grow_config(struct request *request)
{
	char *larger = malloc(CONFIG_LENGTH_MAX + 2);

	if (!larger) return false;
	memcpy(larger, request->config, request->config_length);
	request->config = larger;
	return true;
}

/* Reads standard input to its end. False: errno says why; EFBIG when there is too much. */
static bool read_config(struct request *request)
{
	static char ordinary[ORDINARY_CONFIG_LENGTH + 1];
	size_t room = ORDINARY_CONFIG_LENGTH;

	request->config = ordinary;
	for (;;) {
		ssize_t received = read(STDIN_FILENO, request->config + request->config_length,
					room - request->config_length);

		if (received < 0 && errno == EINTR) continue;
		if (received < 0) return false;
		request->config_length += (size_t)received;
		if (request->config_length > CONFIG_LENGTH_MAX) {
			errno = EFBIG;
			return false;
		}
		request->config[request->config_length] = '\0';
		if (received == 0) return true;
		if (request->config_length == room) {
			if (!grow_config(request)) return false;
			room = CONFIG_LENGTH_MAX + 1;
		}
	}
}

/* The version to answer in: what was asked for if it looks like one, else the newest. */
static void find_version(struct request *request)
{
	struct json_value value;

	if (json_member(request->config, request->config_length, "cniVersion", &value) &&
	    json_string(value, request->version, sizeof(request->version)) && request->version[0] != '\0' &&
	    request->version[strspn(request->version, "0123456789.")] == '\0')
		return;
	strcpy(request->version, NEWEST_VERSION);
}

/* NULL, or what is wrong with the members meant for the shim. */
static const char *find_agent(struct request *request)
{
	struct json_value value;

	strcpy(request->socket_path, DEFAULT_SOCKET);
	if (json_member(request->config, request->config_length, "agentSocket", &value) &&
	    (!json_string(value, request->socket_path, sizeof(request->socket_path)) ||
	     request->socket_path[0] != '/'))
		return "agentSocket must be an absolute path of at most 107 bytes";
	request->wait_seconds = WAIT_SECONDS_DEFAULT;
	if (json_member(request->config, request->config_length, "agentWaitSeconds", &value) &&
	    (!json_natural(value, &request->wait_seconds) || request->wait_seconds > WAIT_SECONDS_MAX))
		return "agentWaitSeconds must be a whole number from 0 to 300";
	return NULL;
}

/* Name of a variable that is longer than anything a runtime sends, or NULL. */
static const char *overlong_variable(void)
{
	for (size_t i = 0; i < VARIABLE_COUNT; i++) {
		const char *value = getenv(variables[i].name);

		if (value && strlen(value) > VARIABLE_LENGTH_MAX) return variables[i].name;
	}
	return NULL;
}

/* Enough for the frame, whatever has to be escaped in it. */
static size_t frame_length_max(const struct request *request)
{
	size_t length = request->config_length;

	for (size_t i = 0; i < VARIABLE_COUNT; i++) {
		const char *value = getenv(variables[i].name);

		if (value) length += strlen(value);
	}
	return 6 * length + 256;
}

/* The frame for the agent; NULL: no memory. */
static char *request_frame(const struct request *request, size_t *length)
{
	static char ordinary[ORDINARY_FRAME_LENGTH];
	size_t length_max = frame_length_max(request);
	char *frame = length_max <= sizeof(ordinary) ? ordinary : malloc(length_max);
	uint32_t body_length;
	char *out;

	if (!frame) return NULL;
	out = append(frame + sizeof(body_length), "{");
	for (size_t i = 0; i < VARIABLE_COUNT; i++) {
		const char *value = getenv(variables[i].name);

		if (!value) value = "";
		out = json_append_string(out, variables[i].member, strlen(variables[i].member));
		out = append(out, ":");
		out = json_append_string(out, value, strlen(value));
		out = append(out, ",");
	}
	out = append(out, "\"config\":");
	out = json_append_string(out, request->config, request->config_length);
	out = append(out, "}");
	*length = (size_t)(out - frame);
	body_length = htonl((uint32_t)(*length - sizeof(body_length)));
	memcpy(frame, &body_length, sizeof(body_length));
	return frame;
}

/* Asks the agent, again and again while it is absent: it may be starting, or have died before it answered.
 * Repeating is safe, the agent completes what an unanswered request began. */
static int ask_agent(const struct request *request, const char *frame, size_t length)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };
	bool is_status = strcmp(request->command, "STATUS") == 0;
	bool is_del = strcmp(request->command, "DEL") == 0;
	long long deadline_ms = now_ms() + (is_status ? 0 : request->wait_seconds * 1000LL);
	struct reply reply;
	enum exchange_end end;

	for (;;) {
		end = agent_exchange(request->socket_path, frame, length, REPLY_TIMEOUT_MS, &reply);
		if (end != AGENT_ABSENT || now_ms() >= deadline_ms) break;
		nanosleep(&pause, NULL);
	}
	switch (end) {
	case EXCHANGE_DONE:
		print(reply.output, reply.length);
		return reply.exit_code;
	case AGENT_ABSENT:
		/* The agent finds by itself that a network namespace is gone, also when it starts. A runtime
		 * that had to wait for it could let go of no pod, and nobody drain the node to repair it. */
		if (is_del) return 0;
		return fail(request, is_status ? PLUGIN_NOT_AVAILABLE : TRY_AGAIN_LATER,
			    "the heddle agent does not answer", request->socket_path);
	case AGENT_SILENT:
		return fail(request, is_status ? PLUGIN_NOT_AVAILABLE : TRY_AGAIN_LATER,
			    "the heddle agent took too long", request->socket_path);
	default:
		return fail(request, IO_FAILURE, "cannot talk to the heddle agent", strerror(errno));
	}
}

int main(void)
{
	struct request request = { .command = getenv("CNI_COMMAND"), .version = NEWEST_VERSION };
	const char *problem;
	size_t length;
	char *frame;

	if (!request.command || request.command[0] == '\0')
		return fail(&request, INVALID_ENVIRONMENT, "CNI_COMMAND is not set",
			    "this is a CNI plugin, to be executed by a container runtime");
	if (!read_config(&request)) {
		if (errno == EFBIG)
			return fail(&request, INVALID_CONFIGURATION,
				    "the network configuration is larger than 1 MiB", "");
		return fail(&request, IO_FAILURE, "cannot read the network configuration", strerror(errno));
	}
	find_version(&request);
	if (strcmp(request.command, "VERSION") == 0) return print_versions(&request);
	problem = overlong_variable();
	if (problem)
		return fail(&request, INVALID_ENVIRONMENT, "an environment variable is too long", problem);
	problem = find_agent(&request);
	if (problem) return fail(&request, INVALID_CONFIGURATION, problem, "");
	frame = request_frame(&request, &length);
	if (!frame) return fail(&request, IO_FAILURE, "cannot build the request", strerror(errno));
	return ask_agent(&request, frame, length);
}

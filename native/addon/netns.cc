// SPDX-License-Identifier: Apache-2.0
#include "netns.h"

#include "arguments.h"
#include "descriptor.h"
#include "exports.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

Outcome InNetns(int netns, const std::function<Outcome()> &action)
{
	// For the life of the process: outside of this function every thread is at home.
	static const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0) return Failure{ EBADF, "open", "/proc/thread-self/ns/net" };
	if (setns(netns, CLONE_NEWNET)) return Failure{ errno, "setns", "" };
	Outcome outcome = action();
	// A thread that stays in a pod's namespace would act on the wrong devices from now on.
	if (setns(home, CLONE_NEWNET)) abort();
	return outcome;
}

// Some settings cannot be written while another process holds the rtnl lock: the kernel has the call repeated
// until it can. What is so already is not written.
Outcome WriteSetting(const std::string &path, const std::string &value)
{
	if (path.find("..") != std::string::npos) return Failure{ EINVAL, "open", path };
	Descriptor file(open(path.c_str(), O_RDWR | O_CLOEXEC));
	if (!file.valid()) return Failure{ errno, "open", path };
	char present[64] = {};
	if (pread(file.get(), present, sizeof(present) - 1, 0) > 0 && value + "\n" == present) return {};
	if (pwrite(file.get(), value.data(), value.size(), 0) < 0) return Failure{ errno, "write", path };
	return {};
}

namespace
{

// Opening must not wait, as it would for a FIFO of that name.
Napi::Value OpenNetns(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	std::string path = TextOf(call[0]);
	Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
	if (!file.valid()) return Throw(env, { errno, "open", path });
	int type = ioctl(file.get(), NS_GET_NSTYPE);
	if (type != CLONE_NEWNET) {
		return Throw(env, { EINVAL, "ioctl(NS_GET_NSTYPE)", path + " is no network namespace" });
	}
	return Napi::Number::New(env, file.release());
}

// Nothing but the descriptor keeps it alive.
Napi::Value NewNetns(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	Descriptor made;
	Descriptor home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	if (!home.valid()) return Throw(env, { errno, "open", "/proc/thread-self/ns/net" });
	if (unshare(CLONE_NEWNET)) return Throw(env, { errno, "unshare", "" });
	made = Descriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
	int error = errno;
	if (setns(home.get(), CLONE_NEWNET)) abort();
	if (!made.valid()) return Throw(env, { error, "open", "/proc/thread-self/ns/net" });
	return Napi::Number::New(env, made.release());
}

Napi::Value NetnsCookie(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	uint64_t cookie = 0;
	Outcome failed = InNetns(IntOf(call[0]), [&]() -> Outcome {
		Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		if (!socket.valid()) return Failure{ errno, "socket", "" };
		socklen_t size = sizeof(cookie);
		if (getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size)) {
			return Failure{ errno, "getsockopt(SO_NETNS_COOKIE)", "" };
		}
		return {};
	});
	return failed ? Throw(env, *failed) : Napi::BigInt::New(env, cookie);
}

Napi::Value WriteSysctl(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	std::string path = TextOf(call[1]), value = TextOf(call[2]);
	Outcome failed = InNetns(IntOf(call[0]), [&] { return WriteSetting(path, value); });
	return failed ? Throw(env, *failed) : env.Undefined();
}

} // namespace

void ExportNetns(Napi::Env env, Napi::Object exports)
{
	exports.Set("openNetns", Napi::Function::New(env, OpenNetns));
	exports.Set("newNetns", Napi::Function::New(env, NewNetns));
	exports.Set("netnsCookie", Napi::Function::New(env, NetnsCookie));
	exports.Set("writeSysctl", Napi::Function::New(env, WriteSysctl));
}

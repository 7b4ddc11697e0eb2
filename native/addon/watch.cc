// SPDX-License-Identifier: Apache-2.0
// Listening Unix sockets, and readiness of descriptors on the event loop itself: no thread, no stream.
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"

#include <errno.h>
#include <memory>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

namespace
{

constexpr int kBacklog = 511;

Napi::Value ListenAt(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	std::string path = TextOf(call[0]);
	sockaddr_un address = {};
	address.sun_family = AF_UNIX;
	if (path.empty() || path.size() >= sizeof(address.sun_path))
		return Throw(env, { ENAMETOOLONG, "bind", path });
	path.copy(address.sun_path, path.size());
	Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	if (!socket.valid()) return Throw(env, { errno, "socket", "" });
	if (bind(socket.get(), reinterpret_cast<sockaddr *>(&address), sizeof(address)))
		return Throw(env, { errno, "bind", path });
	if (listen(socket.get(), kBacklog)) return Throw(env, { errno, "listen", path });
	return Napi::Number::New(env, socket.release());
}

// Null: nobody waits any more.
Napi::Value AcceptFrom(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	int fd = accept4(IntOf(call[0]), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) return Napi::Number::New(env, fd);
	if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR) return env.Null();
	return Throw(env, { errno, "accept", "" });
}

// Main thread only. Lives until the loop has let go of the handle.
struct Watch {
	Watch(Napi::Env env, Napi::Function callback)
	    : callback(Napi::Persistent(callback)), context(env, "heddle_watch")
	{
	}

	uv_poll_t handle;
	Napi::FunctionReference callback;
	Napi::AsyncContext context;

	static void Ready(uv_poll_t *handle, int, int)
	{
		auto *watch = static_cast<Watch *>(handle->data);
		Napi::Env env = watch->callback.Env();
		Napi::HandleScope scope(env);
		watch->callback.MakeCallback(env.Global(), {}, watch->context);
		// What it threw ends the process as from any other callback of the loop.
		if (env.IsExceptionPending())
			napi_fatal_exception(env, env.GetAndClearPendingException().Value());
	}

	void Close()
	{
		uv_close(reinterpret_cast<uv_handle_t *>(&handle),
			 [](uv_handle_t *ended) { delete static_cast<Watch *>(ended->data); });
	}
};

Napi::Value StartWatch(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	int fd = IntOf(call[0]);
	bool writable = TextOf(call[1]) == "writable";
	uv_loop_t *loop = nullptr;
	napi_get_uv_event_loop(env, &loop);
	auto watch = std::make_unique<Watch>(env, call[2].As<Napi::Function>());
	if (int error = uv_poll_init(loop, &watch->handle, fd))
		return Throw(env, { -error, "epoll_ctl", "" });
	Watch *started = watch.release();
	started->handle.data = started;
	if (int error = uv_poll_start(&started->handle, writable ? UV_WRITABLE : UV_READABLE, Watch::Ready)) {
		started->Close();
		return Throw(env, { -error, "epoll_ctl", "" });
	}
	// Once: then the loop frees the watch.
	return Napi::Function::New(env, [started](const Napi::CallbackInfo &) mutable {
		if (started) started->Close();
		started = nullptr;
	});
}

} // namespace

void ExportWatch(Napi::Env env, Napi::Object exports)
{
	exports.Set("listenAt", Napi::Function::New(env, ListenAt));
	exports.Set("acceptFrom", Napi::Function::New(env, AcceptFrom));
	exports.Set("watch", Napi::Function::New(env, StartWatch));
}

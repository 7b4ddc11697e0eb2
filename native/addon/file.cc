// SPDX-License-Identifier: Apache-2.0
// Descriptors of files: pins in a bpffs, directories of cgroups, the agent's locks.
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

namespace
{

Napi::Value Pin(const Napi::CallbackInfo &call)
{
	std::string path = TextOf(call[1]);
	if (bpf_obj_pin(IntOf(call[0]), path.c_str()))
		return Throw(call.Env(), { errno, "bpf(BPF_OBJ_PIN)", path });
	return call.Env().Undefined();
}

Napi::Value OpenPinned(const Napi::CallbackInfo &call)
{
	std::string path = TextOf(call[0]);
	int fd = bpf_obj_get(path.c_str());
	if (fd < 0) return Throw(call.Env(), { errno, "bpf(BPF_OBJ_GET)", path });
	return Napi::Number::New(call.Env(), fd);
}

Napi::Value CloseFd(const Napi::CallbackInfo &call)
{
	if (close(IntOf(call[0]))) return Throw(call.Env(), { errno, "close", "" });
	return call.Env().Undefined();
}

Napi::Value OpenDirectory(const Napi::CallbackInfo &call)
{
	std::string path = TextOf(call[0]);
	int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) return Throw(call.Env(), { errno, "open", path });
	return Napi::Number::New(call.Env(), fd);
}

Napi::Value Lock(Napi::Env env, const std::string &path, int flags)
{
	Descriptor file(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
	if (!file.valid()) return Throw(env, { errno, "open", path });
	if (flock(file.get(), LOCK_EX | LOCK_NB)) return Throw(env, { errno, "flock", path });
	return Napi::Number::New(env, file.release());
}

Napi::Value LockFile(const Napi::CallbackInfo &call)
{
	return Lock(call.Env(), TextOf(call[0]), O_RDWR | O_CREAT);
}

// What a bpffs holds are objects, not files: of it only a directory can be locked.
Napi::Value LockDirectory(const Napi::CallbackInfo &call)
{
	return Lock(call.Env(), TextOf(call[0]), O_RDONLY | O_DIRECTORY);
}

} // namespace

void ExportFile(Napi::Env env, Napi::Object exports)
{
	exports.Set("pin", Napi::Function::New(env, Pin));
	exports.Set("openPinned", Napi::Function::New(env, OpenPinned));
	exports.Set("closeFd", Napi::Function::New(env, CloseFd));
	exports.Set("openDirectory", Napi::Function::New(env, OpenDirectory));
	exports.Set("lockFile", Napi::Function::New(env, LockFile));
	exports.Set("lockDirectory", Napi::Function::New(env, LockDirectory));
}

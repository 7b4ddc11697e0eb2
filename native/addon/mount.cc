// SPDX-License-Identifier: Apache-2.0
// The one mount that Heddle makes: the file system of pins, where a node has none.
#include "arguments.h"
#include "exports.h"

#include <errno.h>
#include <sys/mount.h>

namespace
{

Napi::Value MountBpffs(const Napi::CallbackInfo &call)
{
	std::string path = TextOf(call[0]);
	if (mount("bpf", path.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return Throw(call.Env(), { errno, "mount", path });
	return call.Env().Undefined();
}

} // namespace

void ExportMount(Napi::Env env, Napi::Object exports)
{
	exports.Set("mountBpffs", Napi::Function::New(env, MountBpffs));
}

// SPDX-License-Identifier: Apache-2.0
// The module's entry. What it offers, in JavaScript's words: src/kernel/addon.ts.
#include "arguments.h"
#include "exports.h"

#include <bpf/libbpf.h>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
// Writes one byte past an allocation of the given size: proves that the sanitized build sees it. Not in any
// other build.
static void OverflowOnPurpose(const Napi::CallbackInfo &call)
{
	std::vector<uint8_t> bytes(CountOf(call[0]));
	volatile uint8_t *end = bytes.data() + bytes.size();
	*end = 1;
}
#endif

static Napi::Object Initialize(Napi::Env env, Napi::Object exports)
{
	exports.Set("libbpfVersion", Napi::String::New(env, libbpf_version_string()));
	ExportFile(env, exports);
	ExportMemory(env, exports);
	ExportMount(env, exports);
	ExportObject(env, exports);
	ExportMap(env, exports);
	ExportProgram(env, exports);
	ExportLink(env, exports);
	ExportRing(env, exports);
	ExportNetlink(env, exports);
	ExportNetns(env, exports);
	ExportDefragment(env, exports);
	ExportConfigure(env, exports);
	ExportWatch(env, exports);
#ifdef __SANITIZE_ADDRESS__
	exports.Set("overflowOnPurpose", Napi::Function::New(env, OverflowOnPurpose));
#endif
	return exports;
}

NODE_API_MODULE(heddle, Initialize)

// SPDX-License-Identifier: Apache-2.0
// The module's entry. What it offers, in JavaScript's words: src/kernel/addon.ts.
#include "exports.h"

#include <bpf/libbpf.h>

#ifdef __SANITIZE_ADDRESS__
// Writes past the end of an allocation: proves that the sanitized build sees it. Not in any other build.
static void OverflowOnPurpose(const Napi::CallbackInfo &)
{
	auto *bytes = new uint8_t[16];
	*static_cast<volatile uint8_t *>(bytes + 16) = 1;
	delete[] bytes;
}
#endif

static Napi::Object Initialize(Napi::Env env, Napi::Object exports)
{
	exports.Set("libbpfVersion", Napi::String::New(env, libbpf_version_string()));
	ExportFile(env, exports);
	ExportObject(env, exports);
	ExportMap(env, exports);
	ExportProgram(env, exports);
	ExportLink(env, exports);
	ExportRing(env, exports);
	ExportNetlink(env, exports);
	ExportNetns(env, exports);
#ifdef __SANITIZE_ADDRESS__
	exports.Set("overflowOnPurpose", Napi::Function::New(env, OverflowOnPurpose));
#endif
	return exports;
}

NODE_API_MODULE(heddle, Initialize)

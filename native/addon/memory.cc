// SPDX-License-Identifier: Apache-2.0
// What the C library keeps of memory that was freed, in the arena of each thread that ever ran.
#include "exports.h"

#include <malloc.h>

namespace
{

// An arena with more than this free at its end is cut. Unless it is set the library raises it to twice the
// largest block that was ever freed.
constexpr int kTrimThresholdBytes = 128 << 10;

Napi::Value TrimMemory(const Napi::CallbackInfo &call)
{
	malloc_trim(0);
	return call.Env().Undefined();
}

} // namespace

void ExportMemory(Napi::Env env, Napi::Object exports)
{
	mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
	exports.Set("trimMemory", Napi::Function::New(env, TrimMemory));
}

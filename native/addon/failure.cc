// SPDX-License-Identifier: Apache-2.0
#include "failure.h"

#include <string.h>

// The kernel's own "not supported"; it leaves the kernel (bpf(2) batches) but is in no errno.h.
static constexpr int kEnotsupp = 524;

static std::string CodeOf(int error)
{
	if (error == kEnotsupp) return "ENOTSUPP";
	const char *name = strerrorname_np(error);
	return name ? name : "E" + std::to_string(error);
}

Napi::Error ErrorOf(Napi::Env env, const Failure &failure)
{
	std::string code = CodeOf(failure.error);
	std::string message = std::string(failure.syscall) + ": " + code;
	if (!failure.detail.empty()) message += ": " + failure.detail;
	Napi::Error error = Napi::Error::New(env, message);
	error.Set("code", Napi::String::New(env, code));
	error.Set("errno", Napi::Number::New(env, failure.error));
	error.Set("syscall", Napi::String::New(env, failure.syscall));
	return error;
}

Napi::Value Throw(Napi::Env env, const Failure &failure)
{
	ErrorOf(env, failure).ThrowAsJavaScriptException();
	return env.Undefined();
}

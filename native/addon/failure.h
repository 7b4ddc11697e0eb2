// SPDX-License-Identifier: Apache-2.0
// How a failed system call reaches JavaScript: an Error with code ('ENOENT'), errno and syscall.
#pragma once

#define NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS
#include <napi.h>

#include <optional>
#include <string>

struct Failure {
	int error; // positive errno
	const char *syscall;
	std::string detail; // kernel's own words: verifier log, extended ack
};

// Empty: it worked.
using Outcome = std::optional<Failure>;

Napi::Error ErrorOf(Napi::Env env, const Failure &failure);

// Throws and returns undefined, for `return Throw(...)`.
Napi::Value Throw(Napi::Env env, const Failure &failure);

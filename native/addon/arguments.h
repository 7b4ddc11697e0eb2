// SPDX-License-Identifier: Apache-2.0
// Arguments of a call from JavaScript. A value of the wrong type reads as one that the kernel refuses.
#pragma once

#include "failure.h"

#include <stdint.h>

struct Bytes {
	uint8_t *data;
	size_t size;
};

// The memory of a Uint8Array; valid while the array lives and is not detached.
inline Bytes BytesOf(const Napi::Value &value)
{
	if (!value.IsTypedArray()) return { nullptr, 0 };
	auto array = value.As<Napi::Uint8Array>();
	return { array.Data(), array.ByteLength() };
}

inline int IntOf(const Napi::Value &value)
{
	return value.IsNumber() ? value.As<Napi::Number>().Int32Value() : -1;
}

inline uint32_t CountOf(const Napi::Value &value)
{
	return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : 0;
}

inline std::string TextOf(const Napi::Value &value)
{
	return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

inline Napi::Value CopyOf(Napi::Env env, const uint8_t *data, size_t size)
{
	auto array = Napi::Uint8Array::New(env, size);
	std::copy(data, data + size, array.Data());
	return array;
}

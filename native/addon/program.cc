// SPDX-License-Identifier: Apache-2.0
// Loaded programs: what the kernel says of them, and test runs.
#include "arguments.h"
#include "exports.h"
#include "work.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <vector>

namespace
{

// What a program may add to a packet (encapsulation) or its context.
constexpr size_t kRoomToGrow = 4096;

Napi::Value ProgramInfo(const Napi::CallbackInfo &call)
{
	static const char *syscall = "bpf(BPF_OBJ_GET_INFO_BY_FD)";
	Napi::Env env = call.Env();
	int fd = IntOf(call[0]);
	bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &size)) return Throw(env, { errno, syscall, "" });

	std::vector<uint32_t> maps(info.nr_map_ids);
	bpf_prog_info with_maps = {};
	with_maps.nr_map_ids = maps.size();
	with_maps.map_ids = reinterpret_cast<uintptr_t>(maps.data());
	size = sizeof(with_maps);
	if (bpf_obj_get_info_by_fd(fd, &with_maps, &size)) return Throw(env, { errno, syscall, "" });

	char tag[2 * sizeof(info.tag) + 1];
	for (size_t i = 0; i < sizeof(info.tag); i++)
		snprintf(tag + 2 * i, 3, "%02x", info.tag[i]);
	Napi::Array ids = Napi::Array::New(env, maps.size());
	for (uint32_t i = 0; i < maps.size(); i++)
		ids.Set(i, Napi::Number::New(env, maps[i]));
	Napi::Object result = Napi::Object::New(env);
	result.Set("id", Napi::Number::New(env, info.id));
	result.Set("name", Napi::String::New(env, info.name));
	result.Set("tag", Napi::String::New(env, tag));
	result.Set("verifiedInstructions", Napi::Number::New(env, info.verified_insns));
	result.Set("mapIds", ids);
	return result;
}

class TestRun final : public Work
{
      public:
	explicit TestRun(const Napi::CallbackInfo &call)
	    : Work(call.Env()), fd_(IntOf(call[0])), data_(BytesOf(call[1])), context_(BytesOf(call[2])),
	      repeat_(CountOf(call[3]))
	{
		Keep(call[1]);
		Keep(call[2]);
	}

      private:
	// A run without data is for programs that take none (BPF_PROG_TYPE_SYSCALL), which refuse the other
	// fields.
	Outcome Run() override
	{
		LIBBPF_OPTS(bpf_test_run_opts, options);
		if (context_.size) {
			options.ctx_in = context_.data;
			options.ctx_size_in = context_.size;
		}
		if (data_.size) {
			data_out_.resize(data_.size + kRoomToGrow);
			context_out_.resize(context_.size);
			options.data_in = data_.data;
			options.data_size_in = data_.size;
			options.data_out = data_out_.data();
			options.data_size_out = data_out_.size();
			options.ctx_out = context_.size ? context_out_.data() : nullptr;
			options.ctx_size_out = context_out_.size();
			options.repeat = repeat_;
		}
		if (bpf_prog_test_run_opts(fd_, &options))
			return Failure{ errno, "bpf(BPF_PROG_TEST_RUN)", "" };
		data_out_.resize(data_.size ? options.data_size_out : 0);
		retval_ = options.retval;
		duration_ = options.duration;
		return {};
	}

	Napi::Value Settle(Napi::Env env) override
	{
		Napi::Object result = Napi::Object::New(env);
		result.Set("retval", Napi::Number::New(env, retval_));
		result.Set("data", CopyOf(env, data_out_.data(), data_out_.size()));
		result.Set("context", CopyOf(env, context_out_.data(), context_out_.size()));
		result.Set("durationNs", Napi::Number::New(env, duration_));
		return result;
	}

	int fd_;
	Bytes data_, context_;
	uint32_t repeat_;
	std::vector<uint8_t> data_out_, context_out_;
	int32_t retval_ = 0;
	uint32_t duration_ = 0;
};

Napi::Value StartTestRun(const Napi::CallbackInfo &call)
{
	return (new TestRun(call))->Start();
}

} // namespace

void ExportProgram(Napi::Env env, Napi::Object exports)
{
	exports.Set("programInfo", Napi::Function::New(env, ProgramInfo));
	exports.Set("testRun", Napi::Function::New(env, StartTestRun));
}

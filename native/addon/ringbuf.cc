// SPDX-License-Identifier: Apache-2.0
// Ring buffer: records of one size, handed over in batches.
#include "arguments.h"
#include "exports.h"
#include "pump.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

namespace
{

constexpr uint32_t kRecordsPerCall = 4096;

class RingPump final : public Pump
{
      public:
	RingPump(Descriptor map, uint32_t record_size, int drain_ms)
	    : Pump(map.get(), drain_ms), map_(std::move(map)), record_size_(record_size)
	{
	}
	~RingPump() override
	{
		ring_buffer__free(ring_);
	}
	Outcome Open()
	{
		ring_ = ring_buffer__new(map_.get(), Take, this, nullptr);
		if (!ring_) return Failure{ errno, "ring_buffer__new", "" };
		return {};
	}

      private:
	void Read(Batch *batch) override
	{
		batch_ = batch;
		ring_buffer__consume(ring_);
		batch->more = batch->count == kRecordsPerCall;
	}

	// A shorter record (an older program's) is filled up with zeros, a longer one is cut.
	static int Take(void *context, void *data, size_t size)
	{
		auto *pump = static_cast<RingPump *>(context);
		Batch *batch = pump->batch_;
		size_t start = batch->bytes.size();
		batch->bytes.resize(start + pump->record_size_);
		memcpy(batch->bytes.data() + start, data, std::min<size_t>(size, pump->record_size_));
		return ++batch->count == kRecordsPerCall ? -EAGAIN
							 : 0; // not 0: libbpf stops after this record
	}

	void Deliver(Napi::Env env, Napi::Function callback, const Batch &batch) override
	{
		callback.Call({ CopyOf(env, batch.bytes.data(), batch.bytes.size()),
				Napi::Number::New(env, batch.count) });
	}

	Descriptor map_;
	uint32_t record_size_;
	ring_buffer *ring_ = nullptr;
	Batch *batch_ = nullptr;
};

Napi::Value OpenRing(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	Descriptor map(fcntl(IntOf(call[0]), F_DUPFD_CLOEXEC, 3));
	if (!map.valid()) return Throw(env, { errno, "fcntl(F_DUPFD_CLOEXEC)", "" });
	std::shared_ptr<RingPump> pump =
	    std::make_shared<RingPump>(std::move(map), CountOf(call[1]), IntOf(call[2]));
	if (Outcome failed = pump->Open()) return Throw(env, *failed);
	if (Outcome failed = Pump::Start(env, pump, call[3].As<Napi::Function>())) return Throw(env, *failed);

	Napi::Object ring = Napi::Object::New(env);
	// Given up at once: the function itself lives until it is collected.
	auto close = [pump](const Napi::CallbackInfo &) mutable {
		if (pump) pump->Stop();
		pump.reset();
	};
	ring.Set("close", Napi::Function::New(env, close));
	return ring;
}

} // namespace

void ExportRing(Napi::Env env, Napi::Object exports)
{
	exports.Set("openRing", Napi::Function::New(env, OpenRing));
}

// SPDX-License-Identifier: Apache-2.0
// A thread that waits for a descriptor and hands what it reads to a JavaScript function. In order, with the
// thread:
//   Start      main
//   Read       the pump's own: no napi here
//   Deliver    main; while JavaScript is behind by a batch, the pump waits
//   Stop       main; idempotent
//   destructor main, after the thread has ended
#pragma once

#include "descriptor.h"
#include "failure.h"

#include <memory>
#include <stdint.h>
#include <thread>
#include <vector>

class Pump
{
      public:
	struct Batch {
		std::vector<uint8_t> bytes;
		uint32_t count = 0;
		bool more = false; // read again at once
	};

	virtual ~Pump() = default;

	static Outcome Start(Napi::Env env, std::shared_ptr<Pump> pump, Napi::Function callback);
	void Stop();

      protected:
	// source is borrowed. After a read that found something the next one follows pause_ms later, without
	// waiting for the descriptor; a read that found nothing ends this.
	Pump(int source, int pause_ms) : source_(source), pause_ms_(pause_ms)
	{
	}

	virtual void Read(Batch *batch) = 0;
	virtual void Deliver(Napi::Env env, Napi::Function callback, const Batch &batch) = 0;

      private:
	static void Call(Napi::Env env, Napi::Function callback, Pump *pump, Batch *batch);
	using Bridge = Napi::TypedThreadSafeFunction<Pump, Batch, Call>;

	void Loop();
	bool Drain();
	bool Stopped(int wait_ms);
	void Wake();

	int source_, pause_ms_;
	Descriptor stop_;
	std::thread thread_;
	Bridge bridge_;
	bool running_ = false;       // main only
	std::shared_ptr<Pump> self_; // until the bridge is gone
};

// SPDX-License-Identifier: Apache-2.0
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

// The bridge counts two users, this thread and the pump's, so that it ends by Stop or with the environment.
Outcome Pump::Start(Napi::Env env, std::shared_ptr<Pump> pump, Napi::Function callback)
{
	pump->stop_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (!pump->stop_.valid()) return Failure{ errno, "eventfd", "" };
	pump->self_ = pump;
	pump->bridge_ = Bridge::New(
	    env, callback, "heddle_pump", 1, 2, pump.get(),
	    [](Napi::Env, Pump *, Pump *ended) {
		    ended->running_ = false;
		    ended->Wake();
		    ended->thread_.join();
		    ended->self_.reset();
	    },
	    static_cast<Pump *>(nullptr));
	pump->running_ = true;
	pump->thread_ = std::thread(&Pump::Loop, pump.get());
	return {};
}

void Pump::Stop()
{
	if (!running_) return;
	running_ = false;
	Wake();
	bridge_.Abort();
}

void Pump::Wake()
{
	eventfd_write(stop_.get(), 1);
}

bool Pump::Stopped(int wait_ms)
{
	pollfd stop = { stop_.get(), POLLIN, 0 };
	return poll(&stop, 1, wait_ms) > 0;
}

void Pump::Loop()
{
	for (;;) {
		pollfd waiting[2] = { { source_, POLLIN, 0 }, { stop_.get(), POLLIN, 0 } };
		if (poll(waiting, 2, -1) < 0 && errno == EINTR) continue;
		if (waiting[1].revents || (waiting[0].revents & POLLNVAL)) break;
		if (!Drain()) return; // the bridge has closed and no longer counts this thread
	}
	bridge_.Release();
}

// False: the bridge is closed.
bool Pump::Drain()
{
	for (;;) {
		auto batch = std::make_unique<Batch>();
		Read(batch.get());
		if (batch->count == 0) return true;
		bool more = batch->more;
		if (bridge_.BlockingCall(batch.get()) != napi_ok) return false;
		batch.release();
		if (Stopped(more ? 0 : pause_ms_)) return true;
	}
}

// Without an environment the batch is only freed.
void Pump::Call(Napi::Env env, Napi::Function callback, Pump *pump, Batch *batch)
{
	std::unique_ptr<Batch> owned(batch);
	if (static_cast<napi_env>(env) != nullptr && pump->running_) pump->Deliver(env, callback, *owned);
}

// SPDX-License-Identifier: Apache-2.0
// Several changes to network namespaces, one after the other, in one trip to the thread pool: a trip costs
// more than most of the changes.
#include "arguments.h"
#include "exchange.h"
#include "exports.h"
#include "netns.h"
#include "work.h"

#include <errno.h>
#include <linux/netlink.h>
#include <map>
#include <mutex>
#include <sched.h>
#include <set>
#include <unistd.h>

namespace
{

// The threads of the pool that have configured before, and where they begin. A pool thread is woken on this
// thread's CPU more often than not (15 of 25 ADDs on 2 CPUs), and then waits for what JavaScript does
// meanwhile, about 0.5 ms. Only the waking is told where not to go; whoever begins lifts it for all.
class Placement
{
      public:
	// Main thread, before the work is queued.
	void KeepApart()
	{
		cpu_set_t others;
		int here = sched_getcpu();
		if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof(others), &others)) return;
		std::lock_guard<std::mutex> guard(mutex_);
		allowed_ = others;
		CPU_CLR(here, &others);
		if (CPU_COUNT(&others) > 0) PlaceAll(others);
	}

	// Pool thread, as it begins.
	void Lift()
	{
		std::lock_guard<std::mutex> guard(mutex_);
		threads_.insert(gettid());
		PlaceAll(allowed_);
	}

      private:
	// A failure leaves a thread where it may be anyway.
	void PlaceAll(const cpu_set_t &cpus)
	{
		for (pid_t thread : threads_)
			sched_setaffinity(thread, sizeof(cpus), &cpus);
	}

	std::mutex mutex_;
	std::set<pid_t> threads_;
	cpu_set_t allowed_ = {};
};

Placement placement;

class Configure final : public Work
{
      public:
	explicit Configure(Napi::Env env) : Work(env)
	{
	}

	// Fails for what is no step.
	Outcome Add(const Napi::Object &step)
	{
		int netns = IntOf(step.Get("netns"));
		Napi::Value messages = step.Get("messages");
		if (messages.IsUndefined()) {
			Setting setting = { TextOf(step.Get("sysctl")), TextOf(step.Get("value")) };
			steps_.push_back({ netns, setting, {} });
			return {};
		}
		if (!AreWholeMessages(BytesOf(messages)))
			return Failure{ EINVAL, "netlink", "the bytes are no whole messages" };
		steps_.push_back({ netns, {}, Exchange(BytesOf(messages), &sequence_) });
		return {};
	}

      private:
	struct Setting {
		std::string path, value;
	};
	struct Step {
		int netns;
		Setting setting;
		std::optional<Exchange> exchange; // none: the setting
	};

	Outcome Run() override
	{
		placement.Lift();
		for (Step &step : steps_) {
			if (Outcome failed = Perform(step)) return failed;
		}
		return {};
	}

	Outcome Perform(Step &step)
	{
		if (!step.exchange) {
			return InNetns(step.netns,
				       [&] { return WriteSetting(step.setting.path, step.setting.value); });
		}
		Descriptor &socket = sockets_[step.netns];
		auto open = [&] { return OpenNetlinkSocket(NETLINK_ROUTE, &socket); };
		Outcome failed = socket.valid() ? Outcome() : InNetns(step.netns, open);
		return failed ? failed : step.exchange->Run(socket.get());
	}

	Napi::Value Settle(Napi::Env env) override
	{
		Napi::Array result = Napi::Array::New(env, steps_.size());
		for (uint32_t i = 0; i < steps_.size(); i++) {
			const Step &step = steps_[i];
			result.Set(i, step.exchange ? step.exchange->Answers(env) : Napi::Array::New(env));
		}
		return result;
	}

	std::vector<Step> steps_;
	std::map<int, Descriptor> sockets_; // by namespace
	uint32_t sequence_ = 0;
};

Napi::Value StartConfigure(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	auto *work = new Configure(env);
	Napi::Array steps = call[0].As<Napi::Array>();
	for (uint32_t i = 0; i < steps.Length(); i++) {
		if (Outcome failed = work->Add(Napi::Value(steps[i]).As<Napi::Object>())) {
			delete work;
			return Throw(env, *failed);
		}
	}
	placement.KeepApart();
	return work->Start();
}

} // namespace

void ExportConfigure(Napi::Env env, Napi::Object exports)
{
	exports.Set("configure", Napi::Function::New(env, StartConfigure));
}

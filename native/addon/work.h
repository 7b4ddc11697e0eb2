// SPDX-License-Identifier: Apache-2.0
// A call that may block. In order, with the thread of each:
//   constructor   main   copies or keeps what Run needs
//   Start         main   returns the promise; the object deletes itself when that has settled
//   Run           pool   no napi here
//   Settle        main   after success: the promise's value
//   Explain       main   after failure: adds to the error
//   destructor    main
#pragma once

#include "failure.h"

#include <vector>

class Work : public Napi::AsyncWorker
{
      public:
	Napi::Promise Promise() const
	{
		return deferred_.Promise();
	}
	Napi::Promise Start()
	{
		Queue();
		return Promise();
	}

      protected:
	explicit Work(Napi::Env env) : Napi::AsyncWorker(env), deferred_(env)
	{
	}

	virtual Outcome Run() = 0;
	virtual Napi::Value Settle(Napi::Env env) = 0;
	virtual void Explain(Napi::Env, Napi::Error &)
	{
	}

	// The value's memory stays valid until the destructor.
	void Keep(const Napi::Value &value)
	{
		if (value.IsObject()) kept_.push_back(Napi::Persistent(value.As<Napi::Object>()));
	}

      private:
	void Execute() final
	{
		outcome_ = Run();
	}
	void OnOK() final
	{
		if (!outcome_) return deferred_.Resolve(Settle(Env()));
		Napi::Error error = ErrorOf(Env(), *outcome_);
		Explain(Env(), error);
		deferred_.Reject(error.Value());
	}

	Napi::Promise::Deferred deferred_;
	Outcome outcome_;
	std::vector<Napi::ObjectReference> kept_;
};

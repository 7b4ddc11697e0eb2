// SPDX-License-Identifier: Apache-2.0
// Netlink sockets, in any network namespace. A socket either asks (request) or listens (subscribe).
#include "arguments.h"
#include "exchange.h"
#include "exports.h"
#include "netns.h"
#include "pump.h"
#include "work.h"

#include <deque>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

namespace
{

// Single messages are far smaller.
constexpr size_t kDatagramBytes = 64 << 10;

class Request;

// Shared by the JavaScript object and its requests; the descriptor closes with the last of them. Main thread
// only, but for the descriptor.
struct Channel {
	Descriptor socket;
	std::deque<Request *> waiting;
	bool busy = false;
	bool closed = false;
	bool listening = false;
	uint32_t sequence = 0;

	void Next();
};

class Request final : public Work
{
      public:
	Request(Napi::Env env, std::shared_ptr<Channel> channel, Bytes messages)
	    : Work(env), channel_(std::move(channel)), exchange_(messages, &channel_->sequence)
	{
	}
	~Request() override
	{
		channel_->Next();
	}

      private:
	Outcome Run() override
	{
		return exchange_.Run(channel_->socket.get());
	}
	Napi::Value Settle(Napi::Env env) override
	{
		return exchange_.Answers(env);
	}

	std::shared_ptr<Channel> channel_;
	Exchange exchange_;
};

void Channel::Next()
{
	busy = !waiting.empty();
	if (!busy) return;
	Request *next = waiting.front();
	waiting.pop_front();
	next->Queue();
}

class Subscription final : public Pump
{
      public:
	explicit Subscription(std::shared_ptr<Channel> channel)
	    : Pump(channel->socket.get(), 0), channel_(std::move(channel))
	{
	}

      private:
	// Lost messages show as one of type NLMSG_OVERRUN.
	void Read(Batch *batch) override
	{
		batch->bytes.resize(kDatagramBytes);
		ssize_t size =
		    recv(channel_->socket.get(), batch->bytes.data(), batch->bytes.size(), MSG_DONTWAIT);
		if (size < 0 && errno != ENOBUFS) size = 0;
		if (size < 0) {
			nlmsghdr overrun = {};
			overrun.nlmsg_len = size = sizeof(overrun);
			overrun.nlmsg_type = NLMSG_OVERRUN;
			memcpy(batch->bytes.data(), &overrun, sizeof(overrun));
		}
		batch->bytes.resize(size);
		batch->count = size ? 1 : 0;
	}

	void Deliver(Napi::Env env, Napi::Function callback, const Batch &batch) override
	{
		auto *header = reinterpret_cast<const nlmsghdr *>(batch.bytes.data());
		for (unsigned left = batch.bytes.size(); NLMSG_OK(header, left);
		     header = NLMSG_NEXT(header, left)) {
			callback.Call(
			    { CopyOf(env, reinterpret_cast<const uint8_t *>(header), header->nlmsg_len) });
			if (env.IsExceptionPending()) return;
		}
	}

	std::shared_ptr<Channel> channel_;
};

class NetlinkSocket final : public Napi::ObjectWrap<NetlinkSocket>
{
      public:
	static Napi::Function Define(Napi::Env env)
	{
		return DefineClass(env, "NetlinkSocket",
				   {
				       InstanceMethod<&NetlinkSocket::Ask>("request"),
				       InstanceMethod<&NetlinkSocket::Subscribe>("subscribe"),
				       InstanceMethod<&NetlinkSocket::Close>("close"),
				   });
	}

	explicit NetlinkSocket(const Napi::CallbackInfo &call) : Napi::ObjectWrap<NetlinkSocket>(call)
	{
		auto open = [&] { return OpenNetlinkSocket(IntOf(call[0]), &channel_->socket); };
		Outcome failed = call[1].IsNull() ? open() : InNetns(IntOf(call[1]), open);
		if (failed) Throw(call.Env(), *failed);
	}

      private:
	Napi::Value Ask(const Napi::CallbackInfo &call)
	{
		Napi::Env env = call.Env();
		Bytes messages = BytesOf(call[0]);
		if (channel_->closed) return Throw(env, { EBADF, "netlink", "the socket is closed" });
		if (channel_->listening) return Throw(env, { EBUSY, "netlink", "the socket listens" });
		if (!AreWholeMessages(messages))
			return Throw(env, { EINVAL, "netlink", "the bytes are no whole messages" });
		auto *request = new Request(env, channel_, messages);
		channel_->waiting.push_back(request);
		if (!channel_->busy) channel_->Next();
		return request->Promise();
	}

	Napi::Value Subscribe(const Napi::CallbackInfo &call)
	{
		Napi::Env env = call.Env();
		if (channel_->closed) return Throw(env, { EBADF, "netlink", "the socket is closed" });
		int group = IntOf(call[0]);
		if (call[1].IsObject()) {
			Napi::Object word = call[1].As<Napi::Object>();
			if (Outcome failed = KeepOnly(IntOf(word.Get("offset")), IntOf(word.Get("value"))))
				return Throw(env, *failed);
		}
		if (setsockopt(channel_->socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
			       sizeof(group))) {
			return Throw(env, { errno, "setsockopt(NETLINK_ADD_MEMBERSHIP)", "" });
		}
		if (channel_->listening)
			return Throw(env, { EBUSY, "netlink", "the socket listens already" });
		subscription_ = std::make_shared<Subscription>(channel_);
		Outcome failed = Pump::Start(env, subscription_, call[2].As<Napi::Function>());
		if (failed) return Throw(env, *failed);
		channel_->listening = true;
		return env.Undefined();
	}

	// In the kernel, which then wakes nobody for the others. Source: net/core/filter.c, classic BPF; an
	// absolute load reads network order.
	Outcome KeepOnly(uint32_t offset, uint32_t value)
	{
		sock_filter code[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(value), 0, 1),
			BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
			BPF_STMT(BPF_RET | BPF_K, 0),
		};
		sock_fprog program = { 4, code };
		if (!setsockopt(channel_->socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program,
				sizeof(program)))
			return {};
		return Failure{ errno, "setsockopt(SO_ATTACH_FILTER)", "" };
	}

	Napi::Value Close(const Napi::CallbackInfo &call)
	{
		channel_->closed = true;
		if (subscription_) subscription_->Stop();
		subscription_.reset();
		channel_ = std::make_shared<Channel>(); // the old one ends with its last request
		channel_->closed = true;
		return call.Env().Undefined();
	}

	std::shared_ptr<Channel> channel_ = std::make_shared<Channel>();
	std::shared_ptr<Subscription> subscription_;
};

} // namespace

void ExportNetlink(Napi::Env env, Napi::Object exports)
{
	auto *constructor = new Napi::FunctionReference(Napi::Persistent(NetlinkSocket::Define(env)));
	env.AddCleanupHook([constructor] { delete constructor; });
	auto open = [constructor](const Napi::CallbackInfo &call) -> Napi::Value {
		Napi::Object socket = constructor->New({ call[0], call[1] });
		return call.Env().IsExceptionPending() ? call.Env().Undefined() : Napi::Value(socket);
	};
	exports.Set("openNetlink", Napi::Function::New(env, open));
}

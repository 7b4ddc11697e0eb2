// SPDX-License-Identifier: Apache-2.0
// Netlink sockets, in any network namespace. A socket either asks (request) or listens (subscribe).
#include "arguments.h"
#include "exports.h"
#include "netns.h"
#include "pump.h"
#include "work.h"

#include <deque>
#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

namespace
{

// The kernel fills a dump's datagram up to 32 KiB (netlink_dump, v6.1); single answers are smaller.
constexpr size_t kDatagramBytes = 64 << 10;
constexpr int kAnswerSeconds = 10;
constexpr int kDumpAttempts = 8;

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
	// The bytes hold whole messages (IsWhole), back to back.
	Request(Napi::Env env, std::shared_ptr<Channel> channel, Bytes messages)
	    : Work(env), channel_(std::move(channel)), messages_(messages.data, messages.data + messages.size)
	{
		first_ = channel_->sequence + 1;
		for (size_t at = 0; at < messages_.size();) {
			auto *header = reinterpret_cast<nlmsghdr *>(messages_.data() + at);
			bool dumps = (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
			header->nlmsg_seq = ++channel_->sequence;
			header->nlmsg_pid = 0;
			header->nlmsg_flags |= dumps ? NLM_F_REQUEST : NLM_F_REQUEST | NLM_F_ACK;
			at += NLMSG_ALIGN(header->nlmsg_len);
		}
		last_ = channel_->sequence;
	}
	~Request() override
	{
		channel_->Next();
	}

      private:
	enum class Progress { More, Complete, Interrupted };

	// A dump that a change interrupted holds some things twice or not at all: it is asked for again.
	Outcome Run() override
	{
		for (int attempt = 0; attempt < kDumpAttempts; attempt++) {
			answers_.clear();
			failed_.reset();
			Progress progress = Progress::More;
			if (send(channel_->socket.get(), messages_.data(), messages_.size(), 0) < 0)
				return Failed(errno, "");
			while (progress == Progress::More) {
				if (Outcome failed = Receive(&progress)) return failed;
			}
			if (progress == Progress::Complete) return failed_;
		}
		return Failed(EINTR, "the dump was interrupted again and again");
	}

	Outcome Receive(Progress *progress)
	{
		std::vector<uint8_t> datagram(kDatagramBytes);
		ssize_t size = recv(channel_->socket.get(), datagram.data(), datagram.size(), MSG_TRUNC);
		if (size < 0 && errno == EINTR) return {};
		if (size < 0) return Failed(errno == EAGAIN ? ETIMEDOUT : errno, "");
		if (size_t(size) > datagram.size()) return Failed(EMSGSIZE, "an answer is too long");

		auto *header = reinterpret_cast<nlmsghdr *>(datagram.data());
		for (unsigned left = size; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_seq - first_ > last_ - first_)
				continue; // of a request that timed out
			if (header->nlmsg_flags & NLM_F_DUMP_INTR) interrupted_ = true;
			if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
				if (Outcome failed = Status(header); failed && !failed_) failed_ = failed;
				if (header->nlmsg_seq != last_) continue;
				*progress = interrupted_ ? Progress::Interrupted : Progress::Complete;
				interrupted_ = false;
				return {};
			}
			auto *bytes = reinterpret_cast<uint8_t *>(header);
			answers_.emplace_back(bytes, bytes + header->nlmsg_len);
		}
		return {};
	}

	// NLMSG_ERROR with 0 is an acknowledgement; both it and NLMSG_DONE begin with -errno.
	Outcome Status(const nlmsghdr *header)
	{
		int32_t error = 0;
		if (header->nlmsg_len >= NLMSG_LENGTH(sizeof(error)))
			memcpy(&error, NLMSG_DATA(header), sizeof(error));
		if (error >= 0) return {};
		return Failed(-error, ExtendedAck(header));
	}

	static std::string ExtendedAck(const nlmsghdr *header)
	{
		if (!(header->nlmsg_flags & NLM_F_ACK_TLVS)) return "";
		// The socket asked for NETLINK_CAP_ACK: the request is not repeated before the attributes.
		size_t start =
		    NLMSG_LENGTH(header->nlmsg_type == NLMSG_ERROR ? sizeof(nlmsgerr) : sizeof(int32_t));
		auto *bytes = reinterpret_cast<const char *>(header);
		for (size_t at = start; at + sizeof(nlattr) <= header->nlmsg_len;) {
			nlattr attribute;
			memcpy(&attribute, bytes + at, sizeof(attribute));
			if (attribute.nla_len < sizeof(attribute) ||
			    at + attribute.nla_len > header->nlmsg_len)
				break;
			if ((attribute.nla_type & NLA_TYPE_MASK) == NLMSGERR_ATTR_MSG) {
				size_t length = attribute.nla_len - sizeof(attribute);
				return std::string(bytes + at + sizeof(attribute),
						   strnlen(bytes + at + sizeof(attribute), length));
			}
			at += NLMSG_ALIGN(attribute.nla_len);
		}
		return "";
	}

	static Failure Failed(int error, const std::string &detail)
	{
		return Failure{ error, "netlink", detail };
	}

	Napi::Value Settle(Napi::Env env) override
	{
		Napi::Array result = Napi::Array::New(env, answers_.size());
		for (uint32_t i = 0; i < answers_.size(); i++) {
			result.Set(i, CopyOf(env, answers_[i].data(), answers_[i].size()));
		}
		return result;
	}

	std::shared_ptr<Channel> channel_;
	std::vector<uint8_t> messages_;
	std::vector<std::vector<uint8_t>> answers_;
	uint32_t first_, last_; // sequence numbers; the kernel answers in order
	Outcome failed_;        // the first of the failures
	bool interrupted_ = false;
};

void Channel::Next()
{
	busy = !waiting.empty();
	if (!busy) return;
	Request *next = waiting.front();
	waiting.pop_front();
	next->Queue();
}

bool IsWhole(Bytes messages)
{
	if (messages.size == 0) return false;
	for (size_t at = 0; at < messages.size;) {
		nlmsghdr header;
		if (messages.size - at < sizeof(header)) return false;
		memcpy(&header, messages.data + at, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || messages.size - at < NLMSG_ALIGN(header.nlmsg_len))
			return false;
		at += NLMSG_ALIGN(header.nlmsg_len);
	}
	return true;
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
		auto open = [&] { return Open(IntOf(call[0])); };
		Outcome failed = call[1].IsNull() ? open() : InNetns(IntOf(call[1]), open);
		if (failed) Throw(call.Env(), *failed);
	}

      private:
	Outcome Open(int protocol)
	{
		Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
		if (!socket.valid()) return Failure{ errno, "socket", "" };
		sockaddr_nl address = {};
		address.nl_family = AF_NETLINK;
		if (bind(socket.get(), reinterpret_cast<sockaddr *>(&address), sizeof(address))) {
			return Failure{ errno, "bind", "" };
		}
		for (int option : { NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK }) {
			int on = 1;
			if (setsockopt(socket.get(), SOL_NETLINK, option, &on, sizeof(on))) {
				return Failure{ errno, "setsockopt", "" };
			}
		}
		timeval patience = { kAnswerSeconds, 0 };
		if (setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience))) {
			return Failure{ errno, "setsockopt(SO_RCVTIMEO)", "" };
		}
		channel_->socket = std::move(socket);
		return {};
	}

	Napi::Value Ask(const Napi::CallbackInfo &call)
	{
		Napi::Env env = call.Env();
		Bytes messages = BytesOf(call[0]);
		if (channel_->closed) return Throw(env, { EBADF, "netlink", "the socket is closed" });
		if (channel_->listening) return Throw(env, { EBUSY, "netlink", "the socket listens" });
		if (!IsWhole(messages))
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
		if (setsockopt(channel_->socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group,
			       sizeof(group))) {
			return Throw(env, { errno, "setsockopt(NETLINK_ADD_MEMBERSHIP)", "" });
		}
		if (channel_->listening)
			return Throw(env, { EBUSY, "netlink", "the socket listens already" });
		subscription_ = std::make_shared<Subscription>(channel_);
		Outcome failed = Pump::Start(env, subscription_, call[1].As<Napi::Function>());
		if (failed) return Throw(env, *failed);
		channel_->listening = true;
		return env.Undefined();
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

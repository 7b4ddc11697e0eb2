// SPDX-License-Identifier: Apache-2.0
#include "exchange.h"

#include <errno.h>
#include <linux/netlink.h>
#include <memory>
#include <string.h>
#include <sys/socket.h>

namespace
{

// The kernel fills a dump's datagram up to 32 KiB (netlink_dump, v6.1); single answers are smaller.
constexpr size_t kDatagramBytes = 64 << 10;
constexpr int kAnswerSeconds = 10;
constexpr int kDumpAttempts = 8;

Failure Failed(int error, const std::string &detail)
{
	return Failure{ error, "netlink", detail };
}

std::string ExtendedAck(const nlmsghdr *header)
{
	if (!(header->nlmsg_flags & NLM_F_ACK_TLVS)) return "";
	// The socket asked for NETLINK_CAP_ACK: the request is not repeated before the attributes.
	size_t start = NLMSG_LENGTH(header->nlmsg_type == NLMSG_ERROR ? sizeof(nlmsgerr) : sizeof(int32_t));
	auto *bytes = reinterpret_cast<const char *>(header);
	for (size_t at = start; at + sizeof(nlattr) <= header->nlmsg_len;) {
		nlattr attribute;
		memcpy(&attribute, bytes + at, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || at + attribute.nla_len > header->nlmsg_len)
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

// NLMSG_ERROR with 0 is an acknowledgement; both it and NLMSG_DONE begin with -errno.
Outcome Status(const nlmsghdr *header)
{
	int32_t error = 0;
	if (header->nlmsg_len >= NLMSG_LENGTH(sizeof(error)))
		memcpy(&error, NLMSG_DATA(header), sizeof(error));
	if (error >= 0) return {};
	return Failed(-error, ExtendedAck(header));
}

} // namespace

Outcome OpenNetlinkSocket(int protocol, Descriptor *opened)
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
	*opened = std::move(socket);
	return {};
}

bool AreWholeMessages(Bytes messages)
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

// Only the last message is acknowledged: a failure of any is reported as it is.
Exchange::Exchange(Bytes messages, uint32_t *sequence)
    : messages_(messages.data, messages.data + messages.size)
{
	first_ = *sequence + 1;
	for (size_t at = 0; at < messages_.size();) {
		auto *header = reinterpret_cast<nlmsghdr *>(messages_.data() + at);
		bool dumps = (header->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
		header->nlmsg_seq = ++*sequence;
		header->nlmsg_pid = 0;
		at += NLMSG_ALIGN(header->nlmsg_len);
		bool acknowledged = !dumps && at >= messages_.size();
		header->nlmsg_flags |= acknowledged ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST;
	}
	last_ = *sequence;
}

// A dump that a change interrupted holds some things twice or not at all: it is asked for again.
Outcome Exchange::Run(int socket)
{
	std::unique_ptr<uint8_t[]> datagram(new uint8_t[kDatagramBytes]);
	for (int attempt = 0; attempt < kDumpAttempts; attempt++) {
		answers_.clear();
		failed_.reset();
		Progress progress = Progress::More;
		if (send(socket, messages_.data(), messages_.size(), 0) < 0) return Failed(errno, "");
		while (progress == Progress::More) {
			if (Outcome failed = Receive(socket, datagram.get(), &progress)) return failed;
		}
		if (progress == Progress::Complete) return failed_;
	}
	return Failed(EINTR, "the dump was interrupted again and again");
}

Outcome Exchange::Receive(int socket, uint8_t *datagram, Progress *progress)
{
	ssize_t size = recv(socket, datagram, kDatagramBytes, MSG_TRUNC);
	if (size < 0 && errno == EINTR) return {};
	if (size < 0) return Failed(errno == EAGAIN ? ETIMEDOUT : errno, "");
	if (size_t(size) > kDatagramBytes) return Failed(EMSGSIZE, "an answer is too long");

	auto *header = reinterpret_cast<nlmsghdr *>(datagram);
	for (unsigned left = size; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
		if (header->nlmsg_seq - first_ > last_ - first_) continue; // of a request that timed out
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

Napi::Value Exchange::Answers(Napi::Env env) const
{
	Napi::Array result = Napi::Array::New(env, answers_.size());
	for (uint32_t i = 0; i < answers_.size(); i++) {
		result.Set(i, CopyOf(env, answers_[i].data(), answers_[i].size()));
	}
	return result;
}

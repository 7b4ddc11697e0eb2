// SPDX-License-Identifier: Apache-2.0
// Netlink messages out, answers in, on one socket. Blocks: for the thread pool.
#pragma once

#include "arguments.h"
#include "descriptor.h"

#include <vector>

// Bound, with extended acknowledgements; an answer is waited for 10 s.
Outcome OpenNetlinkSocket(int protocol, Descriptor *socket);

// Whether the bytes are messages back to back, each a multiple of 4 bytes; none is no.
bool AreWholeMessages(Bytes messages);

class Exchange
{
      public:
	// Copies the messages, which are whole, and numbers them on from *sequence.
	Exchange(Bytes messages, uint32_t *sequence);

	// The kernel performs all, also after one that fails; the first failure.
	Outcome Run(int socket);

	// The answers' messages, without DONE or acknowledgements.
	Napi::Value Answers(Napi::Env env) const;

      private:
	enum class Progress { More, Complete, Interrupted };

	Outcome Receive(int socket, uint8_t *datagram, Progress *progress);

	std::vector<uint8_t> messages_;
	std::vector<std::vector<uint8_t>> answers_;
	uint32_t first_, last_; // sequence numbers; the kernel answers in order
	Outcome failed_;        // the first of the failures
	bool interrupted_ = false;
};

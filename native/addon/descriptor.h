// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>
#include <utility>

// Owns a file descriptor; -1 is none. A successful call hands it on with release().
class Descriptor
{
      public:
	Descriptor() = default;
	explicit Descriptor(int fd) : fd_(fd)
	{
	}
	Descriptor(Descriptor &&other) : fd_(other.release())
	{
	}
	Descriptor &operator=(Descriptor &&other)
	{
		std::swap(fd_, other.fd_);
		return *this;
	}
	~Descriptor()
	{
		if (fd_ >= 0) close(fd_);
	}
	int get() const
	{
		return fd_;
	}
	bool valid() const
	{
		return fd_ >= 0;
	}
	int release()
	{
		return std::exchange(fd_, -1);
	}

      private:
	int fd_ = -1;
};

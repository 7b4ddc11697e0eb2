// SPDX-License-Identifier: Apache-2.0
// Maps: single calls are made at once, batches and dumps on the thread pool. Lengths are checked against the
// kernel's own word on the map before any memory is handed to it.
#include "exports.h"

#include "arguments.h"
#include "work.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <vector>

namespace
{

constexpr uint32_t kChunk = 1024;
// bpf(2) answers it for map types without batch operations (BPF_DO_BATCH, kernel/bpf/syscall.c v6.1).
constexpr int kEnotsupp = 524;

bool IsPerCpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

struct Shape {
	uint32_t type;
	uint32_t key;
	uint32_t value; // as it crosses the system call
};

Outcome ReadInfo(int fd, bpf_map_info *info)
{
	uint32_t size = sizeof(*info);
	if (bpf_obj_get_info_by_fd(fd, info, &size))
		return Failure{ errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", "" };
	return {};
}

Outcome ReadShape(int fd, Shape *shape)
{
	bpf_map_info info = {};
	if (Outcome failed = ReadInfo(fd, &info)) return failed;
	uint32_t value = info.value_size;
	if (IsPerCpu(info.type)) value = ((value + 7) & ~7u) * libbpf_num_possible_cpus();
	*shape = { info.type, info.key_size, value };
	return {};
}

Failure WrongLength(const char *syscall, const char *what)
{
	return Failure{ EINVAL, syscall, std::string(what) + " has another length than the map's" };
}

Napi::Value MapInfo(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	bpf_map_info info = {};
	if (Outcome failed = ReadInfo(IntOf(call[0]), &info)) return Throw(env, *failed);
	Napi::Object result = Napi::Object::New(env);
	result.Set("name", Napi::String::New(env, info.name));
	result.Set("type", Napi::Number::New(env, info.type));
	result.Set("keySize", Napi::Number::New(env, info.key_size));
	result.Set("valueSize", Napi::Number::New(env, info.value_size));
	result.Set("maxEntries", Napi::Number::New(env, info.max_entries));
	result.Set("flags", Napi::Number::New(env, info.map_flags));
	result.Set("id", Napi::Number::New(env, info.id));
	return result;
}

Napi::Value MapLookup(const Napi::CallbackInfo &call)
{
	static const char *syscall = "bpf(BPF_MAP_LOOKUP_ELEM)";
	Napi::Env env = call.Env();
	int fd = IntOf(call[0]);
	Bytes key = BytesOf(call[1]);
	Shape shape;
	if (Outcome failed = ReadShape(fd, &shape)) return Throw(env, *failed);
	if (key.size != shape.key) return Throw(env, WrongLength(syscall, "the key"));
	auto value = Napi::Uint8Array::New(env, shape.value);
	if (!bpf_map_lookup_elem(fd, key.data, value.Data())) return value;
	if (errno == ENOENT) return env.Null();
	return Throw(env, { errno, syscall, "" });
}

Napi::Value MapUpdate(const Napi::CallbackInfo &call)
{
	static const char *syscall = "bpf(BPF_MAP_UPDATE_ELEM)";
	Napi::Env env = call.Env();
	int fd = IntOf(call[0]);
	Bytes key = BytesOf(call[1]), value = BytesOf(call[2]);
	Shape shape;
	if (Outcome failed = ReadShape(fd, &shape)) return Throw(env, *failed);
	if (key.size != shape.key) return Throw(env, WrongLength(syscall, "the key"));
	if (value.size != shape.value) return Throw(env, WrongLength(syscall, "the value"));
	if (bpf_map_update_elem(fd, key.data, value.data, CountOf(call[3])))
		return Throw(env, { errno, syscall, "" });
	return env.Undefined();
}

Napi::Value MapDelete(const Napi::CallbackInfo &call)
{
	static const char *syscall = "bpf(BPF_MAP_DELETE_ELEM)";
	Napi::Env env = call.Env();
	int fd = IntOf(call[0]);
	Bytes key = BytesOf(call[1]);
	Shape shape;
	if (Outcome failed = ReadShape(fd, &shape)) return Throw(env, *failed);
	if (key.size != shape.key) return Throw(env, WrongLength(syscall, "the key"));
	if (!bpf_map_delete_elem(fd, key.data)) return Napi::Boolean::New(env, true);
	if (errno == ENOENT) return Napi::Boolean::New(env, false);
	return Throw(env, { errno, syscall, "" });
}

// Writes or deletes entries in chunks. Borrows the arrays, which are kept, and the descriptor, which the
// caller keeps open until the promise settles.
class Batch : public Work
{
      public:
	Batch(const Napi::CallbackInfo &call, const char *syscall, uint32_t count)
	    : Work(call.Env()), syscall_(syscall), fd_(IntOf(call[0])), keys_(BytesOf(call[1])), count_(count)
	{
		Keep(call[1]);
	}

      protected:
	// -errno; *count says how many were done.
	virtual int Chunk(const Shape &shape, uint32_t from, uint32_t *count) = 0;
	virtual int Single(const Shape &shape, uint32_t index) = 0;
	virtual bool Fits(const Shape &shape) const
	{
		return keys_.size == size_t(count_) * shape.key;
	}
	// The element that stopped a chunk may be passed over.
	virtual bool Skips(int) const
	{
		return false;
	}

	Outcome Run() override
	{
		Shape shape;
		if (Outcome failed = ReadShape(fd_, &shape)) return failed;
		if (IsPerCpu(shape.type))
			return Failure{ EINVAL, syscall_, "per-CPU maps have no batches here" };
		if (!Fits(shape)) return WrongLength(syscall_, "an element");
		bool chunks = true;
		for (uint32_t at = 0; at < count_;) {
			uint32_t count = std::min(kChunk, count_ - at);
			int error = chunks ? -Chunk(shape, at, &count) : -Single(shape, at);
			if (!chunks) count = error ? 0 : 1;
			if (chunks && error == kEnotsupp) {
				chunks = false;
				continue;
			}
			at += count;
			done_ += count;
			if (error && !Skips(error)) return Failure{ error, syscall_, "" };
			if (error) at++;
		}
		return {};
	}
	Napi::Value Settle(Napi::Env env) override
	{
		return Napi::Number::New(env, done_);
	}
	void Explain(Napi::Env env, Napi::Error &error) override
	{
		error.Set("done", Napi::Number::New(env, done_));
	}

	const char *syscall_;
	int fd_;
	Bytes keys_;
	uint32_t count_;
	uint32_t done_ = 0;
};

class UpdateBatch final : public Batch
{
      public:
	explicit UpdateBatch(const Napi::CallbackInfo &call)
	    : Batch(call, "bpf(BPF_MAP_UPDATE_BATCH)", CountOf(call[3])), values_(BytesOf(call[2]))
	{
		Keep(call[2]);
	}

      private:
	bool Fits(const Shape &shape) const override
	{
		return Batch::Fits(shape) && values_.size == size_t(count_) * shape.value;
	}
	int Chunk(const Shape &shape, uint32_t from, uint32_t *count) override
	{
		return bpf_map_update_batch(fd_, keys_.data + size_t(from) * shape.key,
					    values_.data + size_t(from) * shape.value, count, nullptr);
	}
	int Single(const Shape &shape, uint32_t index) override
	{
		return bpf_map_update_elem(fd_, keys_.data + size_t(index) * shape.key,
					   values_.data + size_t(index) * shape.value, BPF_ANY);
	}

	Bytes values_;
};

// Deleting what is absent succeeds.
class DeleteBatch final : public Batch
{
      public:
	explicit DeleteBatch(const Napi::CallbackInfo &call)
	    : Batch(call, "bpf(BPF_MAP_DELETE_BATCH)", CountOf(call[2]))
	{
	}

      private:
	bool Skips(int error) const override
	{
		return error == ENOENT;
	}
	int Chunk(const Shape &shape, uint32_t from, uint32_t *count) override
	{
		return bpf_map_delete_batch(fd_, keys_.data + size_t(from) * shape.key, count, nullptr);
	}
	int Single(const Shape &shape, uint32_t index) override
	{
		return bpf_map_delete_elem(fd_, keys_.data + size_t(index) * shape.key);
	}
};

// Reads a whole map. A map that changes meanwhile gives each untouched entry once.
class Dump final : public Work
{
      public:
	explicit Dump(const Napi::CallbackInfo &call) : Work(call.Env()), fd_(IntOf(call[0]))
	{
	}

      private:
	Outcome Run() override
	{
		Shape shape;
		if (Outcome failed = ReadShape(fd_, &shape)) return failed;
		int error = Batches(shape);
		if (error == kEnotsupp) error = OneByOne(shape);
		if (error) return Failure{ error, "bpf(BPF_MAP_LOOKUP_BATCH)", "" };
		return {};
	}

	int Batches(const Shape &shape)
	{
		std::vector<uint8_t> cursor(std::max<size_t>(shape.key, sizeof(uint32_t)));
		uint32_t step = kChunk;
		for (bool first = true;;) {
			uint32_t count = step;
			keys_.resize(size_t(count_ + step) * shape.key);
			values_.resize(size_t(count_ + step) * shape.value);
			int error = -bpf_map_lookup_batch(fd_, first ? nullptr : cursor.data(), cursor.data(),
							  keys_.data() + size_t(count_) * shape.key,
							  values_.data() + size_t(count_) * shape.value,
							  &count, nullptr);
			if (error == ENOSPC) { // one bucket of the hash holds more than fits
				step *= 2;
				continue;
			}
			if (error && error != ENOENT) return error;
			count_ += count;
			first = false;
			if (error == ENOENT) return Trim(shape);
		}
	}

	int OneByOne(const Shape &shape)
	{
		std::vector<uint8_t> key(shape.key), value(shape.value);
		const uint8_t *previous = nullptr;
		while (!bpf_map_get_next_key(fd_, previous, key.data())) {
			if (!bpf_map_lookup_elem(fd_, key.data(), value.data())) {
				keys_.insert(keys_.end(), key.begin(), key.end());
				values_.insert(values_.end(), value.begin(), value.end());
				count_++;
			}
			previous = key.data();
		}
		return errno == ENOENT ? Trim(shape) : errno;
	}

	int Trim(const Shape &shape)
	{
		keys_.resize(size_t(count_) * shape.key);
		values_.resize(size_t(count_) * shape.value);
		return 0;
	}

	Napi::Value Settle(Napi::Env env) override
	{
		Napi::Object result = Napi::Object::New(env);
		result.Set("keys", CopyOf(env, keys_.data(), keys_.size()));
		result.Set("values", CopyOf(env, values_.data(), values_.size()));
		result.Set("count", Napi::Number::New(env, count_));
		return result;
	}

	int fd_;
	uint32_t count_ = 0;
	std::vector<uint8_t> keys_, values_;
};

// Counts a map's keys. A key that goes while it is the cursor begins the count again, so it ends at the
// limit.
class Count final : public Work
{
      public:
	explicit Count(const Napi::CallbackInfo &call)
	    : Work(call.Env()), fd_(IntOf(call[0])), limit_(CountOf(call[1]))
	{
	}

      private:
	Outcome Run() override
	{
		Shape shape;
		if (Outcome failed = ReadShape(fd_, &shape)) return failed;
		std::vector<uint8_t> key(shape.key);
		const uint8_t *previous = nullptr;
		while (count_ < limit_ && !bpf_map_get_next_key(fd_, previous, key.data())) {
			previous = key.data();
			count_++;
		}
		if (count_ < limit_ && errno != ENOENT)
			return Failure{ errno, "bpf(BPF_MAP_GET_NEXT_KEY)", "" };
		return {};
	}

	Napi::Value Settle(Napi::Env env) override
	{
		return Napi::Number::New(env, count_);
	}

	int fd_;
	uint32_t limit_, count_ = 0;
};

Napi::Value MapUpdateBatch(const Napi::CallbackInfo &call)
{
	return (new UpdateBatch(call))->Start();
}

Napi::Value MapDeleteBatch(const Napi::CallbackInfo &call)
{
	return (new DeleteBatch(call))->Start();
}

Napi::Value MapDump(const Napi::CallbackInfo &call)
{
	return (new Dump(call))->Start();
}

Napi::Value MapCount(const Napi::CallbackInfo &call)
{
	return (new Count(call))->Start();
}

Napi::Value PossibleCpus(const Napi::CallbackInfo &call)
{
	return Napi::Number::New(call.Env(), libbpf_num_possible_cpus());
}

} // namespace

void ExportMap(Napi::Env env, Napi::Object exports)
{
	exports.Set("mapInfo", Napi::Function::New(env, MapInfo));
	exports.Set("mapLookup", Napi::Function::New(env, MapLookup));
	exports.Set("mapUpdate", Napi::Function::New(env, MapUpdate));
	exports.Set("mapDelete", Napi::Function::New(env, MapDelete));
	exports.Set("mapUpdateBatch", Napi::Function::New(env, MapUpdateBatch));
	exports.Set("mapDeleteBatch", Napi::Function::New(env, MapDeleteBatch));
	exports.Set("mapCount", Napi::Function::New(env, MapCount));
	exports.Set("mapDump", Napi::Function::New(env, MapDump));
	exports.Set("possibleCpus", Napi::Function::New(env, PossibleCpus));
}

// SPDX-License-Identifier: Apache-2.0
// An ELF object from open to load. libbpf's own words and the verifier's log become part of the error;
// nothing is printed.
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"
#include "work.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <memory>
#include <string.h>
#include <vector>

namespace
{

// Untouched pages of it cost nothing. Below 6.4 a log that does not fit makes the load fail.
constexpr size_t kVerifierLogBytes = 16 << 20;

// libbpf calls back on the thread that called it.
thread_local std::string *warnings = nullptr;

int CollectWarning(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN || !warnings) return 0;
	char line[1024];
	vsnprintf(line, sizeof(line), format, arguments);
	warnings->append(line);
	return 0;
}

// Collects this thread's warnings while it lives.
class Collecting
{
      public:
	explicit Collecting(std::string *into)
	{
		warnings = into;
	}
	~Collecting()
	{
		warnings = nullptr;
	}
};

struct Opened {
	std::unique_ptr<char, void (*)(void *)> log{ static_cast<char *>(calloc(kVerifierLogBytes, 1)),
						     free };
	bpf_object *object = nullptr;
	~Opened()
	{
		if (object) bpf_object__close(object);
	}
};

class Load final : public Work
{
      public:
	Load(Napi::Env env, std::shared_ptr<Opened> opened) : Work(env), opened_(std::move(opened))
	{
	}

      private:
	Outcome Run() override
	{
		Collecting collecting(&warnings_);
		int error = -bpf_object__load(opened_->object);
		if (error) return Failure{ error, "bpf(BPF_PROG_LOAD)", warnings_ };
		return {};
	}
	Napi::Value Settle(Napi::Env env) override
	{
		return env.Undefined();
	}
	void Explain(Napi::Env env, Napi::Error &error) override
	{
		error.Set("verifierLog", Napi::String::New(env, opened_->log.get()));
	}

	std::shared_ptr<Opened> opened_;
	std::string warnings_;
};

class BpfObject final : public Napi::ObjectWrap<BpfObject>
{
      public:
	static Napi::Function Define(Napi::Env env)
	{
		return DefineClass(env, "BpfObject",
				   {
				       InstanceAccessor<&BpfObject::Maps>("maps"),
				       InstanceAccessor<&BpfObject::Programs>("programs"),
				       InstanceMethod<&BpfObject::SetMaxEntries>("setMaxEntries"),
				       InstanceMethod<&BpfObject::ReuseMap>("reuseMap"),
				       InstanceMethod<&BpfObject::SetRodata>("setRodata"),
				       InstanceMethod<&BpfObject::SetAutoload>("setAutoload"),
				       InstanceMethod<&BpfObject::StartLoad>("load"),
				       InstanceMethod<&BpfObject::MapFd>("mapFd"),
				       InstanceMethod<&BpfObject::ProgramFd>("programFd"),
				       InstanceMethod<&BpfObject::Close>("close"),
				   });
	}

	explicit BpfObject(const Napi::CallbackInfo &call)
	    : Napi::ObjectWrap<BpfObject>(call), opened_(std::make_shared<Opened>())
	{
		Bytes elf = BytesOf(call[0]);
		std::string name = TextOf(call[1]), text;
		LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
		options.kernel_log_buf = opened_->log.get();
		options.kernel_log_size = kVerifierLogBytes;
		Collecting collecting(&text);
		opened_->object = bpf_object__open_mem(elf.data, elf.size, &options);
		if (!opened_->object) Throw(call.Env(), { errno, "bpf_object__open_mem", text });
	}

      private:
	// null after close(), with an exception thrown.
	bpf_object *Object(Napi::Env env)
	{
		if (!opened_) Throw(env, { EBADF, "bpf_object", "the object is closed" });
		return opened_ ? opened_->object : nullptr;
	}

	bpf_map *Map(const Napi::CallbackInfo &call)
	{
		bpf_object *object = Object(call.Env());
		if (!object) return nullptr;
		std::string name = TextOf(call[0]);
		bpf_map *map = bpf_object__find_map_by_name(object, name.c_str());
		if (!map) Throw(call.Env(), { ENOENT, "bpf_object__find_map_by_name", name });
		return map;
	}

	bpf_program *Program(const Napi::CallbackInfo &call)
	{
		bpf_object *object = Object(call.Env());
		if (!object) return nullptr;
		std::string name = TextOf(call[0]);
		bpf_program *program = bpf_object__find_program_by_name(object, name.c_str());
		if (!program) Throw(call.Env(), { ENOENT, "bpf_object__find_program_by_name", name });
		return program;
	}

	Napi::Value Maps(const Napi::CallbackInfo &call)
	{
		Napi::Env env = call.Env();
		bpf_object *object = Object(env);
		if (!object) return env.Undefined();
		Napi::Array result = Napi::Array::New(env);
		bpf_map *map;
		bpf_object__for_each_map(map, object)
		{
			if (bpf_map__is_internal(map)) continue;
			Napi::Object info = Napi::Object::New(env);
			info.Set("name", Napi::String::New(env, bpf_map__name(map)));
			info.Set("type", Napi::Number::New(env, bpf_map__type(map)));
			info.Set("keySize", Napi::Number::New(env, bpf_map__key_size(map)));
			info.Set("valueSize", Napi::Number::New(env, bpf_map__value_size(map)));
			info.Set("maxEntries", Napi::Number::New(env, bpf_map__max_entries(map)));
			info.Set("flags", Napi::Number::New(env, bpf_map__map_flags(map)));
			result.Set(result.Length(), info);
		}
		return result;
	}

	Napi::Value Programs(const Napi::CallbackInfo &call)
	{
		Napi::Env env = call.Env();
		bpf_object *object = Object(env);
		if (!object) return env.Undefined();
		Napi::Array result = Napi::Array::New(env);
		bpf_program *program;
		bpf_object__for_each_program(program, object)
		{
			Napi::Object info = Napi::Object::New(env);
			info.Set("name", Napi::String::New(env, bpf_program__name(program)));
			info.Set("section", Napi::String::New(env, bpf_program__section_name(program)));
			result.Set(result.Length(), info);
		}
		return result;
	}

	Napi::Value SetMaxEntries(const Napi::CallbackInfo &call)
	{
		bpf_map *map = Map(call);
		if (!map) return call.Env().Undefined();
		int error = -bpf_map__set_max_entries(map, CountOf(call[1]));
		return error ? Throw(call.Env(), { error, "bpf_map__set_max_entries", "" })
			     : call.Env().Undefined();
	}

	Napi::Value ReuseMap(const Napi::CallbackInfo &call)
	{
		bpf_map *map = Map(call);
		if (!map) return call.Env().Undefined();
		int error = -bpf_map__reuse_fd(map, IntOf(call[1]));
		return error ? Throw(call.Env(), { error, "bpf_map__reuse_fd", "" }) : call.Env().Undefined();
	}

	Napi::Value SetRodata(const Napi::CallbackInfo &call)
	{
		static const char *where = "bpf_map__initial_value";
		Napi::Env env = call.Env();
		bpf_object *object = Object(env);
		if (!object) return env.Undefined();
		std::string name = TextOf(call[0]);
		Bytes bytes = BytesOf(call[1]);

		size_t size = 0;
		uint8_t *data = Rodata(object, &size);
		const btf_var_secinfo *variable = FindVariable(object, name);
		if (!data || !variable)
			return Throw(env, { ENOENT, where, name + " is no const volatile variable" });
		if (variable->size != bytes.size || variable->offset + variable->size > size) {
			return Throw(env, { EINVAL, where, name + " has another size" });
		}
		memcpy(data + variable->offset, bytes.data, bytes.size);
		return env.Undefined();
	}

	static uint8_t *Rodata(bpf_object *object, size_t *size)
	{
		static const std::string suffix = ".rodata";
		bpf_map *map;
		bpf_object__for_each_map(map, object)
		{
			std::string name = bpf_map__name(map);
			if (name.size() < suffix.size() || name.substr(name.size() - suffix.size()) != suffix)
				continue;
			return static_cast<uint8_t *>(const_cast<void *>(bpf_map__initial_value(map, size)));
		}
		return nullptr;
	}

	static const btf_var_secinfo *FindVariable(bpf_object *object, const std::string &name)
	{
		const btf *types = bpf_object__btf(object);
		int id = types ? btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC) : -1;
		if (id < 0) return nullptr;
		const btf_type *section = btf__type_by_id(types, id);
		const btf_var_secinfo *variable = btf_var_secinfos(section);
		for (int i = 0; i < btf_vlen(section); i++, variable++) {
			const btf_type *type = btf__type_by_id(types, variable->type);
			if (name == btf__name_by_offset(types, type->name_off)) return variable;
		}
		return nullptr;
	}

	Napi::Value SetAutoload(const Napi::CallbackInfo &call)
	{
		bpf_program *program = Program(call);
		if (!program) return call.Env().Undefined();
		int error = -bpf_program__set_autoload(program, call[1].ToBoolean());
		return error ? Throw(call.Env(), { error, "bpf_program__set_autoload", "" })
			     : call.Env().Undefined();
	}

	Napi::Value StartLoad(const Napi::CallbackInfo &call)
	{
		if (!Object(call.Env())) return call.Env().Undefined();
		return (new Load(call.Env(), opened_))->Start();
	}

	Napi::Value Duplicate(Napi::Env env, int fd)
	{
		int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return copy < 0 ? Throw(env, { errno, "fcntl(F_DUPFD_CLOEXEC)", "" })
				: Napi::Number::New(env, copy);
	}

	Napi::Value MapFd(const Napi::CallbackInfo &call)
	{
		bpf_map *map = Map(call);
		return map ? Duplicate(call.Env(), bpf_map__fd(map)) : call.Env().Undefined();
	}

	Napi::Value ProgramFd(const Napi::CallbackInfo &call)
	{
		bpf_program *program = Program(call);
		return program ? Duplicate(call.Env(), bpf_program__fd(program)) : call.Env().Undefined();
	}

	Napi::Value Close(const Napi::CallbackInfo &call)
	{
		opened_.reset(); // a load that is under way holds its own reference
		malloc_trim(0);  // the kernel's BTF was parsed for it: 15 MB that the process would keep
		return call.Env().Undefined();
	}

	std::shared_ptr<Opened> opened_;
};

} // namespace

void ExportObject(Napi::Env env, Napi::Object exports)
{
	libbpf_set_print(CollectWarning);
	auto *constructor = new Napi::FunctionReference(Napi::Persistent(BpfObject::Define(env)));
	env.AddCleanupHook([constructor] { delete constructor; });
	exports.Set("openObject",
		    Napi::Function::New(env, [constructor](const Napi::CallbackInfo &call) -> Napi::Value {
			    Napi::Object object = constructor->New({ call[0], call[1] });
			    return call.Env().IsExceptionPending() ? call.Env().Undefined()
								   : Napi::Value(object);
		    }));
}

// SPDX-License-Identifier: Apache-2.0
// Where programs are attached: bpf links (tcx, cgroup).
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"
#include "work.h"

#include <bpf/bpf.h>
#include <errno.h>

namespace
{

// Of enum bpf_link_type (v6.6); Debian 12's headers end before it.
constexpr uint32_t kLinkTypeTcx = 11;

// tcx waits for an RCU grace period with the rtnl lock held (tcx_entry_sync, v6.6): 5 to 20 ms.
class LinkCreate final : public Work
{
      public:
	explicit LinkCreate(const Napi::CallbackInfo &call)
	    : Work(call.Env()), program_(IntOf(call[0])), target_(IntOf(call[1])),
	      type_(static_cast<bpf_attach_type>(IntOf(call[2])))
	{
	}

      private:
	Outcome Run() override
	{
		link_ = Descriptor(bpf_link_create(program_, target_, type_, nullptr));
		if (!link_.valid()) return Failure{ errno, "bpf(BPF_LINK_CREATE)", "" };
		return {};
	}
	Napi::Value Settle(Napi::Env env) override
	{
		return Napi::Number::New(env, link_.release());
	}

	int program_, target_;
	bpf_attach_type type_;
	Descriptor link_;
};

Napi::Value LinkUpdate(const Napi::CallbackInfo &call)
{
	int error = bpf_link_update(IntOf(call[0]), IntOf(call[1]), nullptr) ? errno : 0;
	return error ? Throw(call.Env(), { error, "bpf(BPF_LINK_UPDATE)", "" }) : call.Env().Undefined();
}

// struct bpf_link_info as kernels with tcx have it (include/uapi/linux/bpf.h, v6.6).
struct LinkInfoTcx {
	uint32_t type, id, program, pad;
	union {
		struct {
			uint32_t ifindex, attach_type;
		} tcx;
		struct {
			uint64_t id;
			uint32_t attach_type;
		} cgroup;
		uint8_t room[240];
	};
};

Napi::Value LinkInfo(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	LinkInfoTcx info = {};
	uint32_t size = sizeof(info);
	if (bpf_obj_get_info_by_fd(IntOf(call[0]), &info, &size)) {
		return Throw(env, { errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", "" });
	}
	bool tcx = info.type == kLinkTypeTcx;
	bool cgroup = info.type == BPF_LINK_TYPE_CGROUP;
	uint32_t attach_type = tcx ? info.tcx.attach_type : cgroup ? info.cgroup.attach_type : 0;
	Napi::Object result = Napi::Object::New(env);
	result.Set("id", Napi::Number::New(env, info.id));
	result.Set("programId", Napi::Number::New(env, info.program));
	result.Set("attachType", Napi::Number::New(env, attach_type));
	result.Set("ifindex", Napi::Number::New(env, tcx ? info.tcx.ifindex : 0));
	result.Set("cgroupId", Napi::BigInt::New(env, cgroup ? info.cgroup.id : uint64_t(0)));
	return result;
}

Napi::Value StartLinkCreate(const Napi::CallbackInfo &call)
{
	return (new LinkCreate(call))->Start();
}

} // namespace

void ExportLink(Napi::Env env, Napi::Object exports)
{
	exports.Set("linkCreate", Napi::Function::New(env, StartLinkCreate));
	exports.Set("linkUpdate", Napi::Function::New(env, LinkUpdate));
	exports.Set("linkInfo", Napi::Function::New(env, LinkInfo));
}

// SPDX-License-Identifier: Apache-2.0
// Where programs are attached: bpf links (tcx, cgroup), and clsact filters for kernels without tcx.
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"
#include "work.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

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

// Waits for the rtnl lock, which others may hold for long. libbpf refuses structures whose padding is not
// zero, which a copy need not keep: they are filled where they stay.
class FilterChange : public Work
{
      protected:
	FilterChange(Napi::Env env, const Napi::Value &ifindex, const Napi::Value &direction) : Work(env)
	{
		memset(&hook_, 0, sizeof(hook_));
		hook_.sz = sizeof(hook_);
		hook_.ifindex = IntOf(ifindex);
		hook_.attach_point = TextOf(direction) == "ingress" ? BPF_TC_INGRESS : BPF_TC_EGRESS;
		memset(&options_, 0, sizeof(options_));
		options_.sz = sizeof(options_);
	}
	Napi::Value Settle(Napi::Env env) override
	{
		return env.Undefined();
	}

	bpf_tc_hook hook_;
	bpf_tc_opts options_;
};

class FilterAttach final : public FilterChange
{
      public:
	explicit FilterAttach(const Napi::CallbackInfo &call) : FilterChange(call.Env(), call[1], call[2])
	{
		options_.priority = CountOf(call[3]);
		options_.handle = CountOf(call[4]);
		options_.prog_fd = IntOf(call[0]);
		options_.flags = BPF_TC_F_REPLACE;
	}

      private:
	Outcome Run() override
	{
		int error = -bpf_tc_hook_create(&hook_);
		if (error && error != EEXIST) return Failure{ error, "netlink(RTM_NEWQDISC)", "clsact" };
		error = -bpf_tc_attach(&hook_, &options_);
		if (error) return Failure{ error, "netlink(RTM_NEWTFILTER)", "" };
		return {};
	}
};

class FilterDetach final : public FilterChange
{
      public:
	explicit FilterDetach(const Napi::CallbackInfo &call) : FilterChange(call.Env(), call[0], call[1])
	{
		options_.priority = CountOf(call[2]);
		options_.handle = CountOf(call[3]);
	}

      private:
	Outcome Run() override
	{
		int error = -bpf_tc_detach(&hook_, &options_);
		if (error) return Failure{ error, "netlink(RTM_DELTFILTER)", "" };
		return {};
	}
};

template <typename Call> Napi::Value Begin(const Napi::CallbackInfo &call)
{
	return (new Call(call))->Start();
}

} // namespace

void ExportLink(Napi::Env env, Napi::Object exports)
{
	exports.Set("linkCreate", Napi::Function::New(env, Begin<LinkCreate>));
	exports.Set("linkUpdate", Napi::Function::New(env, LinkUpdate));
	exports.Set("linkInfo", Napi::Function::New(env, LinkInfo));
	exports.Set("filterAttach", Napi::Function::New(env, Begin<FilterAttach>));
	exports.Set("filterDetach", Napi::Function::New(env, Begin<FilterDetach>));
}

// SPDX-License-Identifier: Apache-2.0
// Where programs are attached: bpf links (tcx, cgroup), and clsact filters for kernels without tcx.
#include "arguments.h"
#include "exports.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

namespace
{

// Of enum bpf_link_type (v6.6); Debian 12's headers end before it.
constexpr uint32_t kLinkTypeTcx = 11;

Napi::Value LinkCreate(const Napi::CallbackInfo &call)
{
	auto type = static_cast<bpf_attach_type>(IntOf(call[2]));
	int fd = bpf_link_create(IntOf(call[0]), IntOf(call[1]), type, nullptr);
	if (fd < 0) return Throw(call.Env(), { errno, "bpf(BPF_LINK_CREATE)", "" });
	return Napi::Number::New(call.Env(), fd);
}

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

bpf_tc_hook HookOf(const Napi::Value &ifindex, const Napi::Value &direction)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = IntOf(ifindex),
		    .attach_point = TextOf(direction) == "ingress" ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	return hook;
}

Napi::Value FilterAttach(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	bpf_tc_hook hook = HookOf(call[1], call[2]);
	int error = -bpf_tc_hook_create(&hook);
	if (error && error != EEXIST) return Throw(env, { error, "netlink(RTM_NEWQDISC)", "clsact" });
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = IntOf(call[0]), .flags = BPF_TC_F_REPLACE,
		    .handle = CountOf(call[4]), .priority = CountOf(call[3]));
	error = -bpf_tc_attach(&hook, &options);
	return error ? Throw(env, { error, "netlink(RTM_NEWTFILTER)", "" }) : env.Undefined();
}

Napi::Value FilterDetach(const Napi::CallbackInfo &call)
{
	Napi::Env env = call.Env();
	bpf_tc_hook hook = HookOf(call[0], call[1]);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = CountOf(call[3]), .priority = CountOf(call[2]));
	int error = -bpf_tc_detach(&hook, &options);
	return error ? Throw(env, { error, "netlink(RTM_DELTFILTER)", "" }) : env.Undefined();
}

} // namespace

void ExportLink(Napi::Env env, Napi::Object exports)
{
	exports.Set("linkCreate", Napi::Function::New(env, LinkCreate));
	exports.Set("linkUpdate", Napi::Function::New(env, LinkUpdate));
	exports.Set("linkInfo", Napi::Function::New(env, LinkInfo));
	exports.Set("filterAttach", Napi::Function::New(env, FilterAttach));
	exports.Set("filterDetach", Napi::Function::New(env, FilterDetach));
}

// SPDX-License-Identifier: Apache-2.0
// A netfilter link for what it brings along: BPF_F_NETFILTER_IP_DEFRAG has the namespace put fragments
// together before it routes them (net/netfilter/nf_bpf_link.c bpf_nf_enable_defrag, v6.6). Its program
// accepts everything. libbpf 1.1 and the headers of Debian 12 know nothing of it, so the calls are made by
// hand.
#include "arguments.h"
#include "descriptor.h"
#include "exports.h"
#include "netns.h"
#include "work.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace
{

// include/uapi/linux/bpf.h, v6.6.
constexpr uint32_t kProgTypeNetfilter = 32;
constexpr uint32_t kAttachNetfilter = 45;
constexpr uint32_t kIpDefrag = 1;
// Behind the defragmenter (NF_IP_PRI_CONNTRACK_DEFRAG, -400), which the kernel insists on.
constexpr int32_t kPriority = -399;

struct LinkCreateNetfilter {
	uint32_t program, target, attach_type, flags;
	struct {
		uint32_t family, hook;
		int32_t priority;
		uint32_t flags;
	} netfilter;
};

int Bpf(int command, void *attributes, size_t size)
{
	return syscall(__NR_bpf, command, attributes, size);
}

int LoadAcceptAll()
{
	bpf_insn program[] = {
		{ BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, NF_ACCEPT },
		{ BPF_JMP | BPF_EXIT, 0, 0, 0, 0 },
	};
	bpf_attr attributes = {};
	attributes.prog_type = kProgTypeNetfilter;
	attributes.expected_attach_type = static_cast<bpf_attach_type>(kAttachNetfilter);
	attributes.insns = reinterpret_cast<uintptr_t>(program);
	attributes.insn_cnt = sizeof(program) / sizeof(*program);
	attributes.license = reinterpret_cast<uintptr_t>("GPL");
	return Bpf(BPF_PROG_LOAD, &attributes, sizeof(attributes));
}

class Defragment final : public Work
{
      public:
	explicit Defragment(const Napi::CallbackInfo &call)
	    : Work(call.Env()), netns_(IntOf(call[0])),
	      family_(IntOf(call[1]) == 6 ? NFPROTO_IPV6 : NFPROTO_IPV4)
	{
	}

      private:
	Outcome Run() override
	{
		Descriptor program(LoadAcceptAll());
		if (!program.valid()) return Failure{ errno, "bpf(BPF_PROG_LOAD)", "" };
		return InNetns(netns_, [&] { return Attach(program.get()); });
	}

	// May load the kernel's module.
	Outcome Attach(int program)
	{
		LinkCreateNetfilter attributes = {};
		attributes.program = program;
		attributes.attach_type = kAttachNetfilter;
		attributes.netfilter = { family_, NF_INET_PRE_ROUTING, kPriority, kIpDefrag };
		link_ = Descriptor(Bpf(BPF_LINK_CREATE, &attributes, sizeof(attributes)));
		if (!link_.valid()) return Failure{ errno, "bpf(BPF_LINK_CREATE)", "" };
		return {};
	}

	Napi::Value Settle(Napi::Env env) override
	{
		return Napi::Number::New(env, link_.release());
	}

	int netns_;
	uint32_t family_;
	Descriptor link_;
};

Napi::Value StartDefragment(const Napi::CallbackInfo &call)
{
	return (new Defragment(call))->Start();
}

} // namespace

void ExportDefragment(Napi::Env env, Napi::Object exports)
{
	exports.Set("defragment", Napi::Function::New(env, StartDefragment));
}

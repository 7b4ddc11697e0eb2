// SPDX-License-Identifier: Apache-2.0
// Loads the only program of an object and leaves it at a device, as Heddle has its own: by tcx or, below
// Linux 6.6, by a clsact filter. `attach OBJECT DEVICE ingress|egress`. The device keeps it. In C because
// Debian's `tc` knows no tcx, and an empty program costs a round trip between nodes 5 % by clsact and 2 to 3
// % by tcx.

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// enum bpf_attach_type (include/uapi/linux/bpf.h, v6.6), which Debian's headers do not have.
enum { TCX_INGRESS = 46, TCX_EGRESS = 47 };

static int attach_tcx(int program, int ifindex, bool egress)
{
	union bpf_attr attr = {};

	attr.target_fd = ifindex;
	attr.attach_bpf_fd = program;
	attr.attach_type = egress ? TCX_EGRESS : TCX_INGRESS;
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) ? -errno : 0;
}

static int attach_filter(int program, int ifindex, bool egress)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
		    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program);
	int error = bpf_tc_hook_create(&hook);

	return error && error != -EEXIST ? error : bpf_tc_attach(&hook, &filter);
}

int main(int argc, char **argv)
{
	if (argc != 4) return 2;
	struct bpf_object *object = bpf_object__open(argv[1]);
	int ifindex = if_nametoindex(argv[2]);
	bool egress = strcmp(argv[3], "egress") == 0;

	if (!object || !ifindex || bpf_object__load(object)) return 1;
	int program = bpf_program__fd(bpf_object__next_program(object, NULL));
	int error = attach_tcx(program, ifindex, egress);

	if (error == -EINVAL) error = attach_filter(program, ifindex, egress); // the kernel has no tcx
	if (error) fprintf(stderr, "attach to %s %s: %s\n", argv[2], argv[3], strerror(-error));
	return error != 0;
}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a node: its own mounts, cgroups, process ids and host name in front of the machine's files, then containerd,
# kubelet and, where its configuration is there, kube-proxy on their usual paths. What it needs comes in the environment:
#   NODE name; DIR its folder on the disk; PROGRAMS and IMAGES folders; KUBELET_FLAGS, KUBE_PROXY ('' or yes)
# A program that ends is started again, as a service manager does; /run/stop-PROGRAM keeps it down.
set -euo pipefail

hostname "$NODE"
mount --make-rprivate /
mount -t proc proc /proc

# The machine's sysfs out, one that shows this network namespace in, with cgroups as this cgroup namespace sees them.
cgroups=$(cat /proc/self/cgroup)
umount -R -l /sys
mount -t sysfs sysfs /sys
if [[ $cgroups == 0::* && $(wc -l <<<"$cgroups") = 1 ]]; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	# cgroup2 lets a folder hand out controllers only while no process is in it.
	mkdir -p /sys/fs/cgroup/init
	echo $$ >/sys/fs/cgroup/init/cgroup.procs
	for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
		echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
	done
else
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	while IFS=: read -r _ controllers _; do
		case $controllers in
		'') folder=unified ;;
		name=*) folder=${controllers#name=} ;;
		*) folder=$controllers ;;
		esac
		mkdir -p "/sys/fs/cgroup/$folder"
		case $controllers in
		'') mount -t cgroup2 cgroup2 "/sys/fs/cgroup/$folder" ;;
		name=*) mount -t cgroup -o "none,$controllers" cgroup "/sys/fs/cgroup/$folder" ;;
		*) mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$folder" ;;
		esac
	done <<<"$cgroups"
fi
mount -t bpf bpf /sys/fs/bpf

for folder in etc opt var; do
	mkdir -p "$DIR/$folder" "$DIR/work/$folder"
	mount -t overlay "node-$folder" -o "lowerdir=/$folder,upperdir=$DIR/$folder,workdir=$DIR/work/$folder" "/$folder"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /etc/cni/net.d /opt/cni/bin /var/lib/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
rm -rf /etc/cni/net.d/*
# An overlay on an overlay is refused: what containers' files lie on is the disk itself.
for folder in containerd kubelet; do
	mkdir -p "$DIR/$folder"
	mount --bind "$DIR/$folder" "/var/lib/$folder"
done
for plugin in loopback portmap ptp host-local; do
	ln -sf "/usr/lib/cni/$plugin" "/opt/cni/bin/$plugin"
done

# kubelet writes these settings of the whole machine unless they read as it wants. Here they do, and the machine keeps its own.
pretend() {
	printf '%s\n' "$2" >"/run/sysctl-$1"
	mount --bind "/run/sysctl-$1" "/proc/sys/${1//.//}"
}
pretend vm.overcommit_memory 1
pretend vm.panic_on_oom 0
pretend kernel.panic 10
pretend kernel.panic_on_oops 1
pretend kernel.keys.root_maxkeys 1000000
pretend kernel.keys.root_maxbytes 25000000
mount --make-rshared /

keep_running() { # NAME COMMAND...
	local name=$1
	shift
	while :; do
		if [ ! -e "/run/stop-$name" ]; then
			"$@" >>"$DIR/$name.log" 2>&1 &
			echo $! >"/run/$name.pid"
			wait $! || true
			echo "$name ended" >>"$DIR/$name.log"
		fi
		sleep 0.1
	done
}

keep_running containerd containerd --log-level info &
until ctr version >/dev/null 2>&1; do sleep 0.05; done
for image in "$IMAGES"/*.tar; do
	ctr -n k8s.io images import "$image" >/dev/null
done
# shellcheck disable=SC2086
keep_running kubelet "$PROGRAMS/kubernetes" kubelet --config=/etc/kubernetes/kubelet.json \
	--kubeconfig=/etc/kubernetes/kubelet.kubeconfig --hostname-override="$NODE" $KUBELET_FLAGS &
if [ -n "$KUBE_PROXY" ]; then
	keep_running kube-proxy "$PROGRAMS/kubernetes" kube-proxy --config=/etc/kubernetes/kube-proxy.json &
fi
# Reaps what other processes leave behind, for ever.
while :; do wait -n || sleep 0.2; done

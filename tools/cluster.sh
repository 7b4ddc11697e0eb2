#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what `make cluster-test` needs beyond tools/setup.sh: a container runtime for the nodes, and the programs that
# go into the test images. The runtime is never started on this machine itself, only inside the nodes.
set -euo pipefail

# By program, not by package: Docker brings a containerd of its own, in whose place apt-get would put Debian's.
declare -A package_of=([containerd]=containerd [ctr]=containerd [runc]=runc [openssl]=openssl [nc.openbsd]=netcat-openbsd
	[dig]=bind9-dnsutils [curl]=curl [wget]=wget)

missing=()
for program in "${!package_of[@]}"; do
	command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: installing with apt-get for the cluster: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A policy that forbids it keeps the packages from starting a service; one that is there already is the machine's own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
if ! { apt-get update -qq && apt-get install -y -qq --no-remove --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "setup: apt-get failed; its whole output is in $log" >&2
	exit 2
fi
rm -f "$log"

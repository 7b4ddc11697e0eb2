#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the Debian 12 packages of the image (and for arm64 those that cross-building needs) into .tools/debian/ARCH: those
# that deploy/image/packages-ARCH.sha256 pins. A point release of Debian withdraws versions: in place of one that is offered
# no more the current one is taken, with a warning. .tools/debian/ARCH/packages.sha256 says what is there, which is what the
# image and its bill of materials are made of. Packages are downloaded, never installed, and the system's list of package
# sources stays as it is. apt-get checks their signatures.
#   packages.sh ARCH           what is missing of the list
#   packages.sh ARCH --update  rewrites the list: what Debian offers today, security updates included
set -euo pipefail
cd "$(dirname "$0")/../.."

architecture=${1:?amd64 or arm64}
list=$PWD/deploy/image/packages-$architecture.sha256
store=$PWD/.tools/debian/$architecture
names=(base-files gcc-12-base libbpf1 libc6 libelf1 libgcc-s1 libstdc++6 zlib1g)
[ "$architecture" != arm64 ] || names+=(libbpf-dev libelf-dev zlib1g-dev musl-dev)

die() { printf 'image: %s\n' "$*" >&2; exit 1; }

warn_of_others() {
	grep -vxFf "$list" packages.sha256 | while read -r _ file; do
		printf 'image: WARNING: %s is not pinned: Debian withdrew what was. Pin anew: tools/image/packages.sh %s --update\n' \
			"$file" "$architecture"
	done >&2 || true
}

mkdir -p "$store"
cd "$store"
if [ "${2:-}" != --update ] && cmp -s "$list" pinned && sha256sum --status --check packages.sha256 2>/dev/null; then
	warn_of_others
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
: >"$work/status"
# Where this machine, a Debian 12, gets its own packages: one line per suite.
sources=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
	awk '$2 ~ /^bookworm(-security|-updates)?$/ && $3 == "main" && !seen[$0]++')
[ -n "$sources" ] || die 'the image is made of Debian 12 packages: build it on a Debian 12'
while read -r uri suite _; do
	printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: %s\nSigned-By: %s\n\n' \
		"$uri" "$suite" "$architecture" /usr/share/keyrings/debian-archive-keyring.gpg
done <<<"$sources" >"$work/debian.sources"
options=(-o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o APT::Sandbox::User=root
	-o "Dir::Etc::SourceList=$work/debian.sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
	-o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache")
apt-get "${options[@]}" update -qq

download() { (cd "$work/debs" && apt-get "${options[@]}" download -qq "$@"); }

if [ "${2:-}" = --update ]; then
	download "${names[@]}"
	(cd "$work/debs" && sha256sum -- *.deb) >"$list"
else
	echo "setup: downloading Debian 12's packages for the $architecture image, into .tools/debian"
	while read -r _ file; do
		IFS=_ read -r name version _ <<<"${file//%3a/:}"
		download "$name=$version" 2>/dev/null || download "$name" || die "Debian offers no $name"
	done <"$list"
fi
(cd "$work/debs" && sha256sum -- *.deb) >"$work/packages.sha256"
while read -r sum file; do
	[ ! -e "$work/debs/$file" ] || grep -qxF "$sum  $file" "$work/packages.sha256" || die "$file is not the one of $list"
done <"$list"
rm -f -- *.deb
mv "$work/debs"/*.deb "$work/packages.sha256" .
cp "$list" pinned
warn_of_others

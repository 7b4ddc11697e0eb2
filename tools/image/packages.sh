#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the Debian 12 packages of the image (and for arm64 those that cross-building needs) into .tools/debian/ARCH, exactly
# those that deploy/image/packages-ARCH.sha256 names. They are downloaded, never installed, and the system's list of
# package sources stays as it is. apt-get checks their signatures.
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

mkdir -p "$store"
if [ "${2:-}" != --update ] && (cd "$store" && sha256sum --status --check "$list" 2>/dev/null); then
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

if [ "${2:-}" = --update ]; then
	(cd "$work/debs" && apt-get "${options[@]}" download -qq "${names[@]}" && sha256sum ./*.deb | sed 's| \./| |' >"$list")
else
	echo "setup: downloading Debian 12's packages for the $architecture image, into .tools/debian"
	while read -r _ file; do
		IFS=_ read -r name version _ <<<"${file//%3a/:}"
		(cd "$work/debs" && apt-get "${options[@]}" download -qq "$name=$version") ||
			die "Debian offers $name $version no longer: tools/image/packages.sh $architecture --update"
	done <"$list"
	(cd "$work/debs" && sha256sum --quiet --check "$list") || die "a package is not the one of $list"
fi
rm -f "$store"/*.deb
mv "$work/debs"/*.deb "$store"

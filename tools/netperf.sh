#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts netperf 2.7 into .tools/netperf, for `make bench` only. Its licence is not free in Debian's sense, so it is in
# the section non-free (Ubuntu: multiverse): it is downloaded and unpacked here, never installed, and the system's list
# of package sources stays as it is. apt-get checks its signature.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .tools/netperf/usr/bin/netserver ] && exit 0
. /etc/os-release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
options=(-o APT::Sandbox::User=root)
if [ "$ID" = debian ]; then
	echo "setup: downloading netperf from Debian's section non-free for the benchmark, into .tools/netperf"
	# Where this machine gets its own packages.
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v suite="$VERSION_CODENAME" '$2 == suite && $3 == "main" { print $1; exit }')
	cat >"$work/non-free.sources" <<-SOURCES
		Types: deb
		URIs: $mirror
		Suites: $VERSION_CODENAME
		Components: non-free
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	SOURCES
	mkdir -p "$work/lists/partial"
	options+=(-o "Dir::Etc::SourceList=$work/non-free.sources" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$work/lists")
	apt-get "${options[@]}" update -qq
else
	echo "setup: downloading netperf from multiverse for the benchmark, into .tools/netperf"
fi
(cd "$work" && apt-get "${options[@]}" download -qq netperf)
mkdir -p .tools/netperf
dpkg-deb -x "$work"/netperf_*.deb .tools/netperf

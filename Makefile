# Build, test and install the server. `make help` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
BINARY := s3imageserver
MAX_BYTES := 22000000
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# Cross-compiling takes Debian's cross compiler and the target's standard library (rustup or libstd-rust-dev).
TARGETS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
TARGET ?= $(HOST)
export TARGET
PROCESSOR = $(firstword $(subst -, ,$(TARGET)))
# ./s3imageserver is for this machine; a binary for another processor is named after it.
RESULT = $(BINARY)$(if $(filter-out $(HOST),$(TARGET)),-$(PROCESSOR))
BUILT = $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release/$(BINARY)
SBOM = dist/$(RESULT).cdx.json
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER = $(if $(filter-out $(HOST),$(TARGET)),x86_64-linux-gnu-gcc,cc)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = $(if $(filter-out $(HOST),$(TARGET)),aarch64-linux-gnu-gcc,cc)

# Paths of this machine are mapped away, so that a build in another directory gives the same bytes.
REMAPPED = --config "target.'cfg(target_os = \"linux\")'.rustflags = [$(foreach pair,\
	$(CURDIR)=. \
	$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=/crates \
	$(shell rustc --print sysroot)/lib/rustlib/src/rust=/rust \
	$(abspath $(or $(CARGO_TARGET_DIR),target))=target \
	,'--remap-path-prefix=$(pair)',)]"

.DEFAULT_GOAL := build
.PHONY: build run watch test bench cluster docs audit sbom dist pack native install clean help cargo

ifneq ($(filter-out $(HOST),$(TARGET)),)
ifneq ($(filter run watch test bench cluster docs install,$(MAKECMDGOALS)),)
$(error TARGET=$(TARGET) only works with build, native, sbom, pack and audit: the other targets run the program on this machine)
endif
endif
ifneq ($(words $(CURDIR)),1)
$(error rustc accepts no flags with spaces: move the repository out of $(CURDIR))
endif

build: native ## build ./s3imageserver, one static binary (the default)
	cargo build --release --locked --target $(TARGET) $(REMAPPED)
	@set -e; test -f $(BUILT) || { echo "cargo left no $(BUILT): does its configuration set target-dir?" >&2; exit 1; }; \
	if readelf -lW $(BUILT) | grep -q INTERP || readelf -dW $(BUILT) | grep -q NEEDED; then \
		echo "the binary is not static: is RUSTFLAGS set? It replaces the flags in .cargo/config.toml." >&2; \
		exit 1; \
	fi
	@set -e; size=$$(stat -c %s $(BUILT)); \
	if [ "$$size" -gt $(MAX_BYTES) ]; then \
		echo "the binary has $$size bytes, more than the limit of $(MAX_BYTES) (MAX_BYTES)." >&2; \
		exit 1; \
	fi; \
	if ! cmp -s $(BUILT) $(RESULT); then install -m 755 $(BUILT) $(RESULT); fi; \
	echo "./$(RESULT): static, $$size bytes"

run: build ## build, then serve config.example.json
	./$(BINARY) -c config.example.json

watch: build ## serve config.example.json under a small load, with Prometheus on 127.0.0.1:9095, for two minutes
	contrib/prometheus/watch.sh ./$(BINARY)

test: native ## check the formatting, lint, run all tests
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo test --locked

bench: build ## measure against nginx and libvips; writes bench/results and the tables of the documents (30 minutes)
	bench/run.sh
	bench/edge.sh
	bench/cache.sh
	bench/render.sh
	bench/avif.sh
	bench/encoders.sh
	bench/publish.sh

cluster: build ## measure three nodes behind HAProxy with a Garage cluster (root; 30 minutes); writes bench/results/cluster.md
	bench/cluster.sh
	bench/publish.sh

docs: build ## write the tables of the documents, the images of docs/options.md (curl), the screenshots (chromium)
	UPDATE_DOCS=1 cargo test --quiet --locked --lib documents::generated
	docs/options.sh ./$(BINARY)
	UPDATE_DOCS=1 SCREENSHOT_OF=./$(BINARY) cargo test --quiet --locked --test program screenshots_

audit: native ## check crates and C libraries for known advisories (offline with ADVISORY_DB=directory)
	@supply/audit.py

sbom: build ## write dist/s3imageserver.cdx.json, the bill of materials of ./s3imageserver (CycloneDX 1.6)
	@supply/sbom.py --binary $(RESULT) --output $(SBOM)

# For this machine's processor, and for the other one if its compiler and standard library are installed.
dist: ## write dist/: a tarball, a Debian package, a container image and SHA256SUMS
	@rm -rf dist
	@for target in $(TARGETS); do \
		if [ "$$target" = "$(HOST)" ] || { command -v "$${target%%-*}-linux-gnu-gcc" >/dev/null && \
			[ -d "$$(rustc --print target-libdir --target "$$target")" ]; }; then \
			$(MAKE) --no-print-directory pack TARGET=$$target || exit; \
		else \
			echo "not packed for $$target: its C compiler or Rust's standard library for it is missing"; \
		fi; \
	done

pack: sbom
	BINARY=$(BUILT) SBOM=$(SBOM) packaging/dist.sh

native: cargo ## install and upgrade Debian packages, build the C libraries (once; 4 minutes on 2 cores)
	@native/build.sh

# Builds nothing, so that `sudo make install` needs no Rust.
install: ## copy the built binary to $(DESTDIR)$(PREFIX)/bin (PREFIX is /usr/local)
	@test -x $(BINARY) || { echo "./$(BINARY) does not exist: run make first" >&2; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/$(BINARY)
	install -D -m 644 NOTICE $(DESTDIR)$(PREFIX)/share/doc/$(BINARY)/NOTICE

clean: ## remove build results (the C libraries stay in their cache)
	rm -rf $(BINARY) $(BINARY)-aarch64 $(BINARY)-x86_64 $(or $(CARGO_TARGET_DIR),target) dist

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

cargo:
	@command -v cargo >/dev/null || { \
		echo "cargo is missing: install Rust 1.91 or newer, for example with rustup, and run make again." >&2; \
		exit 1; \
	}

# `make demo` and `make test` do all their own set-up on a fresh Debian or Ubuntu machine.
.PHONY: demo test check bench build setup install deb clean

CARGO ?= cargo

demo: build          ## two sites, one subnet, real traffic, and the verdict
	@target/debug/routerctl lab demo

test: setup          ## everything: check, unit and property tests, lab scenarios, fuzzing, QEMU
	@tools/test

check: setup         ## format, clippy without warnings, crate layers, licences, advisories where reachable
	@tools/check

bench: setup         ## ratios against peers, also in target/bench/summary.json; NAME=… runs one, DOCS=1 writes docs/performance.md
	@tools/bench $(if $(DOCS),--docs) $(NAME)

build: setup
	@$(CARGO) build --workspace --bins

setup:
	@tools/setup

clean:
	@$(CARGO) clean

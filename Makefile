# What a person runs. Every target works from a clean checkout on Debian 12 with rustup, make and a C compiler.

CARGO ?= cargo

# What is checked and tested has the fault points, so that everything is built once; what people run has not.
FEATURES = --features rempart/fault-injection

# OWASP CRS for the WAF's tests: a folder with rules/, crs-setup.conf.example and tests/. Data of that project, not part
# of this repository; taken from beside the checkout if it is there. Without it these tests say that they did not run.
REMPART_CRS ?= $(wildcard $(abspath ../shared/crs))
ifneq ($(REMPART_CRS),)
export REMPART_CRS
endif

.DEFAULT_GOAL := help
.PHONY: help run test prepare fmt lint tidy references unit bench bench-million soak drills faults fuzz

help:
	@echo 'make run         build and start the demo: a node with a built-in site, nothing to write'
	@echo 'make test        everything CI checks, installing what the tests need'
	@echo 'make fmt         format all code'
	@echo 'make lint        format check, clippy and docs, warnings denied'
	@echo 'make references  write docs/reference/ from the code'
	@echo 'make bench       compare with nginx and HAProxy; writes bench/results/'
	@echo 'make bench-million  OBJECTS (a million) stored answers: start-up, memory, cost of a hit; bench/results/'
	@echo 'make soak        mixed load with a reload each second, MINUTES (30); writes bench/results/'
	@echo 'make drills      every fault of docs/drills.md, at full length, with times; writes bench/results/'
	@echo 'make faults      random faults and attacks under mixed load, MINUTES (120); writes bench/results/'
	@echo 'make fuzz        fuzz every parser, SECONDS (60) each'

run:
	$(CARGO) run --profile demo --bin rempart -- demo

# The test run comes last, so that its summary closes the output.
test: prepare lint unit

prepare:
	tests/prepare

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked $(FEATURES) -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked $(FEATURES)

tidy:
	$(CARGO) xtask tidy

references:
	$(CARGO) xtask references

# Tidy is a test of the crate xtask, so it runs here too.
unit:
	$(CARGO) test --workspace --doc --locked --quiet $(FEATURES)
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) nextest run --workspace --locked --no-fail-fast $(FEATURES); \
	else \
	    set -x; $(CARGO) test --workspace --lib --bins --tests --locked --no-fail-fast $(FEATURES); \
	fi

bench: prepare
	$(CARGO) build --release --locked -p rempart -p testkit
	python3 bench/compare.py --out bench/results/latest.md

OBJECTS ?= 1000000
bench-million: prepare
	$(CARGO) build --release --locked -p rempart -p testkit
	$(CARGO) build --release --locked -p cache --example million
	python3 bench/million.py --objects $(OBJECTS) --out bench/results/$(shell date +%F)-million.md

MINUTES ?= 30
soak: prepare
	$(CARGO) build --profile demo --locked -p rempart -p testkit
	python3 bench/soak.py --minutes $(MINUTES)

# A build with fault points and the speed of the demo. The table is kept whatever the verdicts are.
DRILLS = bench/results/drills-$(shell date +%F).md
drills: prepare
	$(CARGO) build --profile drill --locked -p rempart $(FEATURES)
	(echo '# Drills'; echo; uname -srm; nproc | sed 's/$$/ processors/'; echo; \
	    target/drill/rempart drill --all --full --markdown) >$(DRILLS); \
	    status=$$?; cat $(DRILLS); exit $$status

# The same build; SEED repeats a run.
faults: MINUTES = 120
faults: prepare
	$(CARGO) build --profile drill --locked -p rempart -p testkit $(FEATURES)
	python3 bench/faults.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Needs cargo-fuzz and a nightly toolchain.
SECONDS ?= 60
fuzz:
	for target in $$($(CARGO) fuzz list); do \
	    $(CARGO) +nightly fuzz run "$$target" -- -max_total_time=$(SECONDS) || exit 1; \
	done

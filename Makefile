# SPDX-License-Identifier: Apache-2.0
# The commands of a working day; meson does the building. See HACKING.md.
SECONDS ?= 60
MESON_BUILD = build/meson

.PHONY: build run test nightly oracle bench lint format asan tsan fuzz coverage clean install

build:
	@scripts/bootstrap build
	@scripts/build release src/cmd/vivace

run: build
	@scripts/run

test:
	@scripts/bootstrap build test
	@scripts/build release
	@scripts/test

# make nightly [HOURS=8] [ONLY=kill,soak]: the long forms of all harnesses; docs/RELIABILITY.md.
nightly:
	@scripts/bootstrap build test fuzz
	@scripts/build release
	@scripts/nightly $(if $(HOURS),--hours $(HOURS)) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

# make oracle PAIRS=100000 [SEED=7]: the query engine against the naive evaluator of tests/oracle.
PAIRS ?= 100000
oracle:
	@scripts/bootstrap build
	@scripts/build release
	@tests/oracle/run_oracle.py $(PAIRS)

# make bench [COMPARE=FILE] [STRICT=1] [ONLY=WORD]: see scripts/bench.
bench:
	@scripts/bootstrap build
	@scripts/build release
	@scripts/bench

lint:
	@scripts/bootstrap lint
	@scripts/lint

format:
	@scripts/bootstrap lint
	@scripts/format

# Unit tests and fuzz corpora under the sanitizers, with asan the fault loops too.
asan:
	@scripts/bootstrap build test
	@scripts/build asan
	@scripts/test --meson-only build/asan --suite unit --suite fuzz-replay --suite fault

tsan:
	@scripts/bootstrap build test
	@scripts/build tsan
	@scripts/test --meson-only build/tsan --suite unit --suite fuzz-replay

# make fuzz SECONDS=30 [TARGET=fuzz_name]: every target for that long.
fuzz:
	@scripts/bootstrap build fuzz
	@scripts/build fuzz
	@scripts/fuzz $(SECONDS) $(TARGET)

# make coverage [FILES=blocks]: what the tests reach of the parts that must not fail.
coverage:
	@scripts/bootstrap build test
	@scripts/coverage $(if $(FILES),--files $(FILES))

install: build
	@meson install -C $(MESON_BUILD) --no-rebuild

clean:
	rm -rf build

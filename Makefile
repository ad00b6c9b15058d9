# `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test test-browser fuzz check bench screenshots catalogues clean format lock

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: $(VENV)/runtime.stamp  ## set up a demo in var/ and start it; Ctrl-C stops it
	@$(BIN)/python -m configs.demo.run

test: $(VENV)/dev.stamp  ## every test that needs no special machine
	$(BIN)/pytest

test-browser: $(VENV)/dev.stamp  ## the tests in a real browser (needs Chromium)
	$(BIN)/pytest tests/browser

fuzz: $(VENV)/dev.stamp $(VENV)/fuzz.stamp  ## try every parser with any bytes, each for FUZZ_SECONDS (5)
	$(BIN)/python -m tests.fuzz

check: $(VENV)/dev.stamp  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/dev.stamp $(VENV)/bench.stamp  ## the figures: latency, throughput, import, memory
	$(BIN)/python -m tests.bench

screenshots: $(VENV)/dev.stamp  ## make docs/screenshots anew (needs Chromium)
	$(BIN)/python -m tests.browser.screenshots

catalogues: $(VENV)/dev.stamp  ## bring the templates of the translations up to date
	$(BIN)/pybabel extract -k Text -k Plural:2,3 --omit-header --no-location --sort-output -o loader/locale/rollcall.pot loader
	$(BIN)/pybabel extract -F admin/babel.cfg --omit-header --no-location --sort-output -o admin/locale/admin.pot admin

format: $(VENV)/dev.stamp  ## write the code in the one style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock:  ## choose new versions of the dependencies (needs uv)
	echo 'setuptools>=77' | uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header \
		--no-annotate --upgrade pyproject.toml - -o constraints/runtime.txt
	echo 'setuptools>=77' | uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header \
		--no-annotate --upgrade --extra dev -c constraints/runtime.txt pyproject.toml - -o constraints/dev.txt
	echo 'setuptools>=77' | uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header \
		--no-annotate --upgrade --extra bench -c constraints/dev.txt pyproject.toml - -o constraints/bench.txt
	echo 'setuptools>=77' | uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-header \
		--no-annotate --upgrade --extra fuzz -c constraints/dev.txt pyproject.toml - -o constraints/fuzz.txt

clean:  ## remove the virtual environment and the demo's data
	rm -rf $(VENV) var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Dependencies first, each checked against its hash; then this project, without any look-up.
$(VENV)/%.stamp: constraints/%.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r constraints/$*.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

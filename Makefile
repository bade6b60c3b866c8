# make demo    replay a market, check its ledger, say where the report is; then paper trading that things happen to
# make test    every check and every test but the soak
# make check   format, lint, types, import contracts, purity
# make bench   the benchmarks
# make soak    the long campaigns in full, and the property tests with examples nobody has seen
# make results the networks of docs/results.md trained and judged, hours of one core; needs the data beside the checkout
# make venv    .venv alone, with exactly what requirements.lock names
# make lock    resolve the dependencies of pyproject.toml anew and rewrite requirements.lock
# make clean   remove what make, Python and the checks made; runs/ and data/ stay

.PHONY: demo results test check check-format check-lint check-types check-imports check-purity bench soak venv lock clean
.DEFAULT_GOAL := help

# Tests start hundreds of Pythons: each would compile all that it imports where this is set.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin

# Python: `make PYTHON=/path/to/python3.12` decides; else the first of these that runs and is at least 3.11.
MIN := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	if $$python -c '$(MIN)' >/dev/null 2>&1; then echo $$python; break; fi; done)

.PHONY: help
help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# --- the environment --------------------------------------------------------------------------------------------------

# Top-level packages, as far as they exist. A new one needs the project installed again: an editable install finds only
# the packages that were there.
PACKAGES := $(wildcard bot strategies models migrations)

venv: $(VENV)/.project-stamp

$(VENV)/.lock-stamp: requirements.lock
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(MIN)'; then \
		echo "make: Python 3.11 or newer is needed; found none. Say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	@touch $@

$(VENV)/.project-stamp: $(VENV)/.lock-stamp pyproject.toml $(wildcard $(addsuffix /__init__.py,$(PACKAGES)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The lock holds what pyproject.toml asks for, dev extra included, and everything those need: names and versions only.
LOCKED := import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print("\n".join(p["dependencies"] + p["optional-dependencies"]["dev"]))
lock:
	@if [ -z "$(PYTHON)" ] || [ "$$("$(PYTHON)" -c 'import sys; print(sys.version_info[:2] == (3, 11))')" != True ]; then \
		echo "make: the lock is made by Python 3.11, the oldest supported: make lock PYTHON=/path/to/python3.11" >&2; exit 1; fi
	rm -rf .venv-lock
	"$(PYTHON)" -m venv .venv-lock
	.venv-lock/bin/python -c '$(LOCKED)' > .venv-lock/wanted.txt
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --requirement .venv-lock/wanted.txt
	.venv-lock/bin/python -m pip check
	.venv-lock/bin/python -m pip freeze --all | sed 's/^\(torch==[0-9.]*\)+cpu$$/\1/' > .venv-lock/frozen.txt
	@if grep -E '@|://|\+' .venv-lock/frozen.txt; then echo "make: the lock would name a place, not a version" >&2; exit 1; fi
	{ sed -n '/^#/p' requirements.lock; grep -v -i '^pip==' .venv-lock/frozen.txt; } > .venv-lock/requirements.lock
	mv .venv-lock/requirements.lock requirements.lock
	rm -rf .venv-lock

# --- what people run --------------------------------------------------------------------------------------------------

demo: venv
	$(BIN)/bot replay --config config/demo.toml
	$(BIN)/bot ledger check runs/latest
	$(BIN)/bot demo

# Each file's tests stay together in one of the workers, one more of these than cores, for some tests wait for a clock.
WORKERS ?= 3
test: check
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --hypothesis-profile same-each-time

bench: venv
	$(BIN)/python -m benchmarks.run

soak: venv
	$(BIN)/python -m pytest -m soak
	$(BIN)/python -m pytest -q tests/property tests/unit

RESULTS ?= runs/results
results: venv
	$(BIN)/python -m benchmarks.results_models --out $(RESULTS) --evaluate
	$(BIN)/python -m benchmarks.results_table $(RESULTS) --pictures $(RESULTS)/pictures

# --- the checks: `make -k check` runs them all past a failure ---------------------------------------------------------

check: check-format check-lint check-types check-imports check-purity

check-format: venv
	$(BIN)/ruff format --check .

check-lint: venv
	$(BIN)/ruff check .

check-types: venv
	$(BIN)/mypy --num-workers 2 $(PACKAGES) tests/support

check-imports: venv
	$(BIN)/lint-imports

check-purity: venv
	$(BIN)/python -m tests.support.purity_lint $(PACKAGES)

clean:
	rm -rf $(VENV) .venv-lock build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Needs Python 3.10 or newer, with its venv module, and make (GNU Make 3.81 or newer): nothing else.
# Every target that needs the virtual environment makes it first, or brings it up to date.

# A Python to make .venv with, such as PYTHON=python3.12; by default the first one that is new enough.
PYTHON ?=
# What to pass to pytest, such as TESTS="tests/cli/test_cli.py -k help" or TESTS="-m slow".
TESTS ?=
# Not empty: build the documentation with small settings, as its test does, in about a minute.
QUICK ?=

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES = $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10 python)

# .ready is written last, so it stands for a complete set-up, and holds the folder that the set-up
# was made for: environments contain absolute paths, so a moved or copied one is made afresh.
# .made-by-make is written first: only what bears it is ever removed to start again.
READY := $(VENV)/.ready
MARK := $(VENV)/.made-by-make
is_ready = [ -x $(BIN)/python ] && [ "$$(cat $(READY) 2>/dev/null)" = "$$(pwd -P)" ]

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-docs test-browser test-all lint docs clean always

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv and install the package and its tools at the tested versions

demo: $(READY)  ## train on scenes of handwritten digits, offline; writes runs/demo
	rm -rf runs/demo
	$(BIN)/air train --data digits -n 500 --out runs/demo

# Whole files go to the processes, in the order that tests/conftest.py gives: longest first. In a test
# with two threads, the one that waits leaves its core to the others.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
    $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: $(READY)  ## run the tests of the code, in 3 minutes; TESTS="..." passes arguments to pytest
	$(PYTEST) $(TESTS)

test-docs: $(READY)  ## build the documentation, run its notebooks, follow its links
	$(PYTEST) -m docs $(TESTS)

test-browser: $(READY)  ## test the page of `air serve` in a Chromium, where there is one
	$(PYTEST) -m browser $(TESTS)

test-all: $(READY)  ## run all tests: the code, the long ones, documentation and browser
	$(PYTEST) -m "not slow and not gpu" $(TESTS)

lint: $(READY)  ## check style, format and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

docs: $(READY)  ## build the documentation, running its notebooks; QUICK=1 with small settings
	AIR_DOCS_QUICK="$(QUICK)" $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:  ## remove .venv, builds and caches; runs/ stays
	rm -rf $(VENV) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# A first set-up, and one that follows an interrupted one, starts from an empty folder: pip takes a
# half-copied package for an installed one. An edit of the two files below updates .venv in place.
# .ready gets the time at which the set-up began, so an edit made meanwhile counts as newer.
$(READY): pyproject.toml constraints.txt $(shell $(is_ready) || echo always)
	@set -e; \
	if $(is_ready); then \
	    rm -f $(READY); \
	elif [ -e $(VENV) ] && [ ! -e $(MARK) ]; then \
	    echo "make: $(VENV) was not made by this Makefile; remove it, or name another with VENV=..." >&2; \
	    exit 1; \
	else \
	    for python in $(CANDIDATES) ''; do \
	        "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "make: Python 3.10 or newer is needed, and none of these is: $(CANDIDATES)." \
	            "Name one with PYTHON=/path/to/python3" >&2; \
	        exit 1; \
	    fi; \
	    rm -rf $(VENV); \
	    mkdir -p $(VENV); \
	    touch $(MARK); \
	    echo "Making $(VENV) with $$("$$python" --version); this takes a few minutes, once."; \
	    "$$python" -m venv $(VENV); \
	fi; \
	pwd -P > $(VENV)/.begun; \
	pip="$(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt"; \
	$$pip --quiet hatchling editables; \
	$$pip --no-build-isolation --editable '.[all,dev,docs]'; \
	mv $(VENV)/.begun $(READY)
always:

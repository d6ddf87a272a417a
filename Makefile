# Everything a developer does. Each verb makes .venv first; nothing else is needed than python3, make and a registry.
PYTHON ?= python3
BIN := .venv/bin
# Servers of our own are on this machine, whatever proxy leads to the registry.
export NO_PROXY := localhost,127.0.0.1,$(NO_PROXY)
export no_proxy := $(NO_PROXY)

.PHONY: help demo ui test soak check bench docs docs-links matrix stack dist clean
help:
	@echo "make demo    run the main job with real Airflow against the sandbox"
	@echo "make ui      the same, and leave the web UI running"
	@echo "make test    run the tests"
	@echo "make soak    run all tests, those that take long as well, and more examples of each property"
	@echo "make check   ruff, mypy, import-linter and the tests"
	@echo "make bench   measure against peers and limits"
	@echo "make matrix  run the tests on every Airflow and Python that is supported, for hours"
	@echo "make stack   let parts of a stack with CeleryExecutor fail, for half an hour, and compare what is left"
	@echo "make dist    build both wheels and sdists into dist, and check them in fresh environments"
	@echo "make docs    build the documentation into docs/_build/html; make docs-links checks external links"
	@echo "make clean   remove .venv and what the demo left"

.venv/.installed: pyproject.toml sandbox/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 ...")'
	@echo "Installing into .venv (about a minute)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ./sandbox --editable ".[dev]"
	@touch $@

demo: .venv/.installed
	@$(BIN)/python -m demo

ui: .venv/.installed
	@$(BIN)/python -m demo ui

# A file at a time in each process; tests/conftest.py says how many there are.
TEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: .venv/.installed
	@$(TEST)

soak: .venv/.installed
	@$(TEST) -m "soak or not soak" --hypothesis-profile soak

check: .venv/.installed
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(TEST)

bench: .venv/.installed
	@$(BIN)/python -m tests.bench

# Such as make matrix CELLS="--airflow 3.1 --python 3.11 -- -n 1 tests/operators"
matrix:
	@$(PYTHON) -m tests.matrix $(CELLS)

# Such as make stack STACK="--seed 7 --segments 4 --people 5000 --fault worker". It needs Debian's redis-server, or another.
# Celery 5.7 lacks a name that Airflow's provider imports.
.stack/.installed: pyproject.toml sandbox/pyproject.toml
	@$(PYTHON) -m venv .stack
	@.stack/bin/python -m pip install --quiet --disable-pip-version-check --editable ./sandbox --editable ".[dev]" "apache-airflow-providers-celery>=3.12" "celery[redis]<5.7"
	@touch $@

stack: .stack/.installed
	@.stack/bin/python -m tests.stack $(STACK)

dist: .venv/.installed
	@$(BIN)/python -m tests.dist

.venv/.docs: .venv/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	@touch $@

docs: .venv/.docs
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

docs-links: .venv/.docs
	@$(BIN)/python -m sphinx -q -b linkcheck docs docs/_build/links

clean:
	rm -rf .venv .demo .matrix .stack docs/_build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist

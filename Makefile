# The only door: everything a person or CI does goes through here.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
ANSIBLE := .venv-ansible

.PHONY: help demo test fuzz kills lint types architecture docs check bench bench-full bench-journal clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev --constraint constraints.txt
	@touch $(STAMP)

demo: $(STAMP)  ## a simulated node, a fleet, and a run against it
	@$(BIN)/python plans/demo.py

test: $(STAMP)  ## every test
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile

fuzz: $(STAMP)  ## plans and answers of the node, mutated: 20 000 plans, 800 runs, 120 000 parsers
	@ORCHESTRATOR_FUZZ_CASES=$${ORCHESTRATOR_FUZZ_CASES:-20000} $(BIN)/python -m pytest -q -n 2 --dist loadfile \
	  tests/faults/test_fuzz_plans.py tests/faults/test_fuzz_answers.py

kills: $(STAMP)  ## a thousand kills and resumes; ORCHESTRATOR_KILL_SEED=N begins elsewhere
	@ORCHESTRATOR_KILLS=$${ORCHESTRATOR_KILLS:-1000} $(BIN)/python -m pytest -q -n 2 tests/faults/test_kills.py

lint: $(STAMP)  ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	@$(BIN)/mypy

architecture: $(STAMP)  ## who may import whom
	@$(BIN)/lint-imports

docs: $(STAMP)  ## generated pages are up to date, README matches --help
	@$(BIN)/python docs/generate.py --check

check: lint types architecture docs  ## all but the tests

bench-journal: $(STAMP)  ## what durability costs: per VM, to resume, in bytes
	@$(BIN)/python -m benchmarks.journal

# One of the peers; where it cannot be had, its row is left out.
$(ANSIBLE)/.ready:
	@$(PYTHON) -m venv $(ANSIBLE)
	@$(ANSIBLE)/bin/python -m pip install --quiet --disable-pip-version-check 'ansible-core>=2.19,<2.20' \
	  || echo "Ansible cannot be installed: its row is left out"
	@touch $(ANSIBLE)/.ready

bench: $(STAMP) $(ANSIBLE)/.ready  ## speed and load against their limits, in a few minutes; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks.page $(if $(PROFILED),--profiled $(PROFILED))

bench-full: $(STAMP) $(ANSIBLE)/.ready  ## the same with ten times the VMs too
	@$(BIN)/python -m benchmarks.page --full $(if $(PROFILED),--profiled $(PROFILED))

clean:  ## remove what was made here
	rm -rf $(VENV) $(ANSIBLE) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# `make` lists the targets. EXPERIMENT, ARGS and PYTHON may be given: make stage1 ARGS="stage1.lr=3e-4"
EXPERIMENT ?= quickstart
ARGS ?=
SWEEP ?=
AGENTS ?= 1
COUNT ?=

# PYTHON= names the interpreter of an environment that holds the dependencies; without it, .venv is made and filled.
ifdef PYTHON
python := $(PYTHON)
environment :=
export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
else
python := .venv/bin/python
environment := .venv/.installed
endif
pisam := $(python) -m pisam.cli
as_root = $(if $(filter-out 0,$(shell id -u)),sudo --non-interactive) env DEBIAN_FRONTEND=noninteractive

.DEFAULT_GOAL := help
.NOTPARALLEL: # each target fills the machine, and reads what the one before it wrote
.PHONY: help stage1 stage2 evaluate audit prepare interact report sweep test lint types test-fast browser slurm test-slow test-slurm bench demo mutants docs format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'Variables: EXPERIMENT=quickstart  ARGS="key=value ..."  PYTHON=python of an existing environment'
	@echo 'Next: make stage1 stage2 trains the quick start on two CPU cores; then make evaluate interact report'

stage1: $(environment) ## train the High-Resolution Mask Decoder
	$(pisam) train $(EXPERIMENT) stage=1 $(ARGS)

stage2: $(environment) ## train the Precise Interactor on the trained stage 1
	$(pisam) train $(EXPERIMENT) stage=2 $(ARGS)

# Alone, stage2 uses an earlier stage 1; asked for together, it waits for this one.
ifneq ($(filter stage1,$(MAKECMDGOALS)),)
stage2: | stage1
endif

evaluate: $(environment) ## score the trained stages on the validation sets
	$(pisam) evaluate $(EXPERIMENT) $(ARGS)

audit: $(environment) ## look at every file of the data before training does
	$(pisam) audit $(EXPERIMENT) $(ARGS)

prepare: $(environment) ## copy the training data to data.prepared, smaller and faster to read
	$(pisam) prepare $(EXPERIMENT) $(ARGS)

interact: $(environment) ## measure what clicks change, over three click seeds
	$(pisam) interact $(EXPERIMENT) $(ARGS)

report: $(environment) ## show what interact and evaluate measured: figures, and a page for a browser
	$(pisam) report $(EXPERIMENT) $(ARGS)

sweep: $(environment) ## register SWEEP=stage2_clicks with W&B, start AGENTS=1 with COUNT= trials each
	$(pisam) sweep $(SWEEP) agents=$(AGENTS) $(if $(COUNT),count=$(COUNT)) $(ARGS)

test: lint types test-fast ## lint, types and the fast tests with their coverage, under 10 minutes

lint: $(environment) ## ruff: rules and format
	$(python) -m ruff check .
	$(python) -m ruff format --check .

types: $(environment) ## mypy
	$(python) -m mypy

test-fast: $(environment) browser ## the fast tests, with at least 90 % line coverage
	$(python) -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90 --numprocesses 2 --dist loadfile

# Where it can neither be found nor installed, the one test that needs it says so.
browser: ## install Debian's chromium, for the test of the report, where it is missing
	@command -v chromium >/dev/null \
		|| { $(as_root) apt-get update && $(as_root) apt-get install --yes --no-install-recommends chromium; } \
		|| echo "chromium was not installed: only root, or a user with sudo, on Debian or Ubuntu can" >&2

# Where it can neither be found nor installed, the tests that need it say so.
slurm: ## install Debian's SLURM, whose daemons test-slurm starts as root, where it is missing
	@command -v slurmctld slurmd munged sbatch >/dev/null \
		|| { $(as_root) apt-get update && $(as_root) apt-get install --yes --no-install-recommends slurm-wlm munge; } \
		|| echo "SLURM was not installed: only root, or a user with sudo, on Debian or Ubuntu can" >&2

# Two files at a time, each on one thread: threads that wait for a core of another file cost more than they save.
test-fast test-slow: export OMP_NUM_THREADS := 1

test-slow: $(environment) ## the marked slow tests
	$(python) -m pytest -m slow --numprocesses 2 --dist loadfile --durations 10

test-slurm: $(environment) slurm ## jobs on a real SLURM of two nodes, as root; minutes
	$(python) -m pytest -m slurm

# A bare machine without an index: WHEELS= names a folder of wheels, as `pip download --dest wheels '.[dev]'` fills it.
gpu: $(environment) ## on one GPU, 12 minutes: is it right, how fast is it; runs/gpu/gpu.md
	$(if $(WHEELS),$(python) -m pip install --no-index --find-links $(WHEELS) --editable '.[dev]')
	PYTHONPATH=src:tests $(python) -m gpu.check $(ARGS)

bench: $(environment) ## the speed measurements
	$(python) -m pytest -m bench

demo: $(environment) ## try the trained model in a browser, on this machine alone
	$(pisam) demo $(ARGS)

mutants: $(environment) ## break the code in known ways; print what no test notices
	$(python) tests/mutants

docs: $(environment) ## build the documentation into build/docs; a warning or a dead link fails
	$(python) -m sphinx -W --keep-going -q -b html docs build/docs

format: $(environment) ## rewrite the code in ruff's format
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

clean: ## remove caches; runs and data stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage .coverage.* build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: setup.cfg
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "python3 is missing or older than 3.10: install one, or give PYTHON=" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "python3 cannot make environments: install python3-venv (Debian, Ubuntu), or give PYTHON=" >&2; exit 1; }
	python3 -m venv .venv
	.venv/bin/python -m pip install --editable '.[dev]'
	@touch $@

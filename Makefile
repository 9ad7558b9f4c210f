# What a newcomer types. `.venv` is made and filled on demand, and again when pyproject.toml or requirements.lock changes.
.DEFAULT_GOAL := help
.PHONY: help run paper-mini test check pipeline-submit images test-images manifests-check lock clean
.DELETE_ON_ERROR:

CONFIG ?= configs/quickstart.yaml
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CACHES := .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist local_outputs *.egg-info

# torch and numpy start a thread a core in each of the test processes otherwise.
test: export OMP_NUM_THREADS ?= 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## the whole pipeline on generated data, in minutes (CONFIG=configs/... for another, ARGS=... for more options)
	$(BIN)/taskmix run $(CONFIG) $(ARGS)

paper-mini: $(INSTALLED) ## the paper's whole matrix with small models, its endpoint on this machine (ARGS=... for more options)
	@$(BIN)/python tests/doubles/chat_server.py --port 8377 & endpoint=$$!; trap "kill $$endpoint" EXIT; \
	$(BIN)/taskmix run configs/paper-mini.yaml $(ARGS)

test: $(INSTALLED) ## every test (ARGS="tests/config -k nearest" for some of them)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(INSTALLED) ## lint, format, types and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pipeline-submit: $(INSTALLED) ## run it on Kubeflow (CONFIG=configs/..., ARGS="--host https://... --wait")
	$(BIN)/taskmix submit $(CONFIG) $(ARGS)

images: ## build the images train and serve with docker, podman or buildah (PREFIX=, TAG=, BUILD_ARGS=, PIP_CONF=, ENGINE=)
	./images/build

test-images: $(INSTALLED) ## build both images here and run them: the graph, a prediction, a killed training (10 minutes, 8 GB; KEEP=folder)
	TASKMIX_TEST_IMAGES=$(or $(KEEP),1) $(BIN)/pytest tests/containers --timeout=3600 $(ARGS)

manifests-check: $(INSTALLED) ## build the manifests' overlays and check every object against a real API server and schemas
	$(BIN)/pytest tests/manifests

lock: ## pin the newest versions that pyproject.toml allows
	./.ci/lock requirements.lock

clean: ## remove .venv, caches and builds; artifacts/ stays
	rm -rf $(VENV) $(CACHES)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements.lock
	@test -x $(BIN)/python || ./.ci/python -m venv $(VENV)
	@echo "installing into $(VENV): some minutes the first time"
	$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev]' -c requirements.lock
	@touch $@

# What a person does with this tree. `make help` lists it.
PYTHON ?= python3
DATA ?= .data
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := chassis customer product order shopping-command shopping-query embedded

.PHONY: help run demo rebuild test lint lock clean-data up down e2e images manifests bench bench-telemetry bench-cluster bench-operator crd
help: ## list what can be made
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

$(VENV)/ready: requirements.lock services/*/pyproject.toml operator/pyproject.toml
	@echo "Setting up $(VENV) (once, and again when the locked packages change) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e services/%) -e operator
	@touch $@

run: $(VENV)/ready ## start the whole store on this machine: DATA=folder PORT=number
	@$(BIN)/webstore run --data "$(DATA)" --port $(PORT)

demo: $(VENV)/ready ## shop in a running store: URL=where it is
	@$(BIN)/webstore demo --url "$(or $(URL),http://localhost:$(PORT))"

rebuild: $(VENV)/ready ## make the read model of carts anew, also while the store runs: DATA=folder
	@$(BIN)/webstore rebuild --data "$(DATA)"

test: $(VENV)/ready ## run the tests
	$(BIN)/python -m pytest

lint: $(VENV)/ready ## ruff and the type checker
	$(BIN)/ruff check services operator tests
	$(BIN)/mypy $(foreach p,$(PACKAGES),-p webstore_$(subst -,_,$(p))) -p webstore_operator

# The locks hold no project package and no index address. The images' locks keep to the versions of the first.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --prerelease if-necessary-or-explicit --no-emit-package webstore-operator $(PACKAGES:%=--no-emit-package webstore-%)
lock: ## write the locks anew from the ranges in the pyproject files
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) requirements.in -o requirements.lock
	$(LOCK) --constraint requirements.lock services/requirements.in -o services/requirements.lock
	$(LOCK) --constraint requirements.lock operator/requirements.in -o operator/requirements.lock

export CLUSTER HTTP_PORT HTTPS_PORT FULL KIND_NODE_IMAGE
up: ## the store on a kind cluster of its own, at http://localhost:8080: HTTP_PORT=number HTTPS_PORT=number FULL=1 KIND_NODE_IMAGE=image
	@kustomize/kind/up

down: ## remove that cluster
	@kustomize/kind/down

images: ## build the images of the services and of the operator
	@kustomize/kind/images

e2e: $(VENV)/ready ## run the tests of the whole on the cluster that `make up` made: TESTS=tests/e2e/test_upgrade.py
	$(BIN)/python -m pytest -v $(or $(TESTS),tests/e2e)

bench: $(VENV)/ready ## measure the services; the table is in tests/bench/results.md
	$(BIN)/python -m tests.bench $(PARTS)

bench-telemetry: $(VENV)/ready ## measure what tracing and logging cost, what a dead or slow receiver does, and how long a log line takes to Elasticsearch
	$(BIN)/python -m tests.bench.telemetry

bench-cluster: $(VENV)/ready ## measure how long a store takes to be ready, by the operator and by Helm alone
	$(BIN)/python -m tests.bench.cluster

bench-operator: $(VENV)/ready ## measure the operator with 1, 100 and 300 WebStores: WEBSTORE_TEST_APISERVER=kubeconfig STORES="1 10"
	$(BIN)/python -m tests.bench.operator $(STORES)

crd: $(VENV)/ready ## make crds/webstores.yaml anew from the operator's models
	$(BIN)/python -m webstore_operator.crd > crds/webstores.yaml.new && mv crds/webstores.yaml.new crds/webstores.yaml

manifests: ## render kustomize/base anew from the operator's chart
	@kustomize/base/render > kustomize/base/operator.yaml

clean-data: ## forget the embedded store's data
	rm -rf "$(DATA)"

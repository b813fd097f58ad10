# Copyright 2026 The keelson Authors
# SPDX-License-Identifier: Apache-2.0

GO ?= go

# How long each fuzz target runs, and on how many processors.
FUZZTIME ?= 10m
FUZZPARALLEL ?= 1

# Nodes of the datastore in the demo.
NODES ?= 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

.PHONY: run
run: ## Run keelson alone: clients on 127.0.0.1:2379, data in ./default.keelson.
	$(GO) run ./cmd/keelson

.PHONY: demo
demo: ## Run a Kubernetes control plane on keelson; all of it in ./demo.keelson. NODES=3 for three; DEMO_FLAGS adds flags.
	@mkdir -p demo.keelson/bin
	@echo "demo: building; the first time takes minutes"
	@cd test/e2e && $(GO) build -o ../../demo.keelson/bin/demo ./cmd/demo && exec ../../demo.keelson/bin/demo --nodes=$(NODES) $(DEMO_FLAGS)

# These build the programs they test, which go's cache of results knows nothing of: -count=1.

.PHONY: test-e2e
test-e2e: ## Test against a real control plane. The first run builds it, which takes minutes.
	cd test/e2e && $(GO) test -count=1 -timeout 40m ./...

# Minors besides the newest, which test-e2e has.
KUBERNETES ?= 1.34 1.35

.PHONY: test-kubernetes
test-kubernetes: ## Test against older control planes too (KUBERNETES="1.34 1.35"). Builds each first, which takes minutes.
	cd test/e2e && for minor in $(KUBERNETES); do \
		KEELSON_E2E_KUBERNETES=$$minor $(GO) test -count=1 -timeout 60m . || exit 1; done

.PHONY: test
test: test-unit test-processes test-bench test-e2e ## Run all tests, as continuous integration does.

.PHONY: test-unit
test-unit: ## Vet everything and test the packages under the race detector.
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./cmd/... ./etcdapi/... ./metrics/... ./raftlog/... ./registry/... ./sqlstore/...

.PHONY: test-processes
test-processes: ## Test server processes: conformance, model, etcdctl, crashes, and the rules of the source.
	cd test/clients/flannel && $(GO) vet ./...
	$(GO) test -count=1 -timeout 40m ./test/...

.PHONY: test-bench
test-bench: ## Run each row of the benchmark once with tiny sizes.
	cd bench && $(GO) test -count=1 -timeout 20m ./...

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME, one after the other.
	@for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "fuzz: $$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s -parallel $(FUZZPARALLEL) ./$$(dirname $$file) || exit 1; \
		done; \
	done

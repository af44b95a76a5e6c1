# Every command that a person or CI runs. `make run` and `make test` need Go 1.26 and make, and nothing else.

SHELL   := /bin/bash
ARCH    ?= arm64
FUZZTIME ?= 30000x
TOOL    := go tool -modfile=tools/lint/go.mod

# A release's flags. `run` uses them too, so that both compile each package once and need no C compiler.
BUILD_FLAGS := -trimpath -tags lambda.norpc
RUN := CGO_ENABLED=0 go run $(BUILD_FLAGS)

# Systems that the command-line tool supports in addition to Linux. One architecture of each is enough.
PLATFORMS := darwin/arm64 windows/amd64

.PHONY: help run local test test-all race lint lint-docs lint-workflows cross bench fuzz build e2e examples sam-local conformance clients salesforce org-test snapshot build-program deploy package cdk pictures clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: ## run the end-to-end demo locally (needs only Go)
	$(RUN) ./cmd/sftoken demo

local: ## run all of sftoken locally until Ctrl-C
	$(RUN) ./cmd/sftoken local

test: ## run every test, with a sample of the exhaustive sweeps, in about a minute
	go test -short -parallel 8 ./...

test-all: ## run every test, with the complete sweeps: crash points, fault tables, models
	go test -timeout 30m ./...

race: ## run every test with the race detector, with a sample of the sweeps (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 30m ./...

lint: ## run golangci-lint (.golangci.yml), govulncheck, go mod tidy
	$(TOOL) golangci-lint run ./...
	go mod tidy -diff
	@test/vulncheck

lint-docs: ## run markdownlint, and lychee on the links between files (needs Python and npm)
	test/lint/docs

lint-workflows: ## run actionlint and zizmor on .github/ (needs Python)
	test/lint/workflows

cross: ## vet and compile the command-line tool for macOS and Windows
	@set -e; for platform in $(PLATFORMS); do \
		echo "$$platform"; export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		go vet ./cmd/sftoken ./internal/sim/...; go build -o /dev/null ./cmd/sftoken; \
	done

bench: ## measure speed and memory relative to a no-op function
	$(RUN) ./internal/bench
	go test -run '^$$' -bench . -benchmem ./internal/...

# A number of inputs, since Go 1.26 can report the end of a duration as a failure (go.dev/issue/75804). Without a bound the fuzzer
# spends its time on making interesting inputs smaller.
fuzz: ## run each fuzz target on FUZZTIME new inputs, as 30000x
	@set -e; go list ./... | while read -r package; do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$package"; \
		done; \
	done

# Reproducible, static and stripped. The go command stamps the version, from the clone's tag or commit. Without a clone that git
# can read, which is also one of another user ("dubious ownership"), it would stamp none or fail: the version is then devel.
BUILD = CGO_ENABLED=0 go build $(BUILD_FLAGS) -buildvcs=$(VCS) -ldflags "-s -w -buildid="
VCS   = $(shell git rev-parse --verify --quiet HEAD >/dev/null 2>&1 && echo true || echo false)

build: ## build the functions, for ARCH=arm64 or x86_64, and the command-line tool, into dist/
	@$(MAKE) --no-print-directory build-TokenFunction ARTIFACTS_DIR=dist/token
	@$(MAKE) --no-print-directory build-RotateFunction ARTIFACTS_DIR=dist/rotate
	@$(MAKE) --no-print-directory build-ProbeFunction ARTIFACTS_DIR=dist/probe
	$(BUILD) -o dist/sftoken ./cmd/sftoken

# For test/rebuild, which sets GOOS and GOARCH too.
build-program:
	@$(BUILD) -o "$(OUTPUT)" "$(PACKAGE)"

# `sam build` calls these with ARTIFACTS_DIR set.
FUNCTIONS := build-TokenFunction build-RotateFunction build-ProbeFunction
$(FUNCTIONS): export GOOS = linux
$(FUNCTIONS): export GOARCH = $(if $(filter x86_64 amd64,$(ARCH)),amd64,arm64)
$(FUNCTIONS): build-%Function:
	$(BUILD) -o "$(ARTIFACTS_DIR)/bootstrap" ./functions/$(shell echo $* | tr A-Z a-z)

e2e: ## deploy the template with the real SAM CLI to a local AWS emulator that enforces signatures and IAM (needs Python)
	test/e2e/run

examples: ## run the callers of examples/cross-account against `sftoken local` and the agent, as their README describes them; part of e2e
	test/examples

sam-local: ## run sam local invoke and start-api with the real containers (needs Docker)
	test/sam-local

conformance: ## run the same tests against the simulated AWS services and against moto_server (needs Python)
	test/conformance

clients: ## run schemathesis and third-party clients against `sftoken local` and the agent; check examples/agent (needs Python and Node)
	test/clients/run
	test/agent

salesforce: ## test the metadata and commands of salesforce/, with the real Salesforce CLI (needs npm)
	test/salesforce

org-test: ## rotate an app's credentials in a real org and print what no document answers (see docs/development.md)
	go test -count=1 -v -timeout 60m -run '^Test(Org|AWS)$$' ./test/org

snapshot: ## build a release twice without publishing it, compare, and run what was built (needs Python)
	test/release

# --guided offers the template's defaults: afterwards `make deploy GUIDED=` keeps what was answered the first time.
GUIDED ?= --guided
deploy: ## run sam build and sam deploy, for ARCH=arm64 or x86_64
	ARCH=$(ARCH) sam build
	sam deploy $(GUIDED) --parameter-overrides Architecture=$(if $(filter x86_64 amd64,$(ARCH)),x86_64,arm64)

pictures: ## record and draw the pictures of docs/images anew (needs Linux)
	rm -f docs/images/demo.svg docs/images/doctor.svg
	UPDATE_GOLDEN=1 go test -count=1 -run 'Picture$$' ./cmd/sftoken ./test/docs

cdk: ## test examples/cdk with the real CDK (needs Python and Node)
	test/cdk

# BUCKET, PREFIX, KMS_KEY and SIGNING_PROFILE are optional: see package.sh.
RELEASE ?= dist
package: ## upload the function zips of RELEASE, for ARCH, to BUCKET; write dist/packaged.yaml, which needs no build
	@mkdir -p dist
	ARCH="$(ARCH)" RELEASE="$(RELEASE)" OUTPUT=dist/packaged.yaml ./package.sh

clean: ## remove what was built
	rm -rf dist .aws-sam

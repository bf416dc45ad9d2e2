# What a contributor needs. CI runs .ci/run, which uses some of these.

GOLANGCI_LINT_VERSION = v2.15.0
GOVULNCHECK_VERSION   = v1.9.0

# How long `make fuzz` tries each target.
FUZZTIME = 30s

# What `make faults` tries: all, or those whose "fault / traffic" a regular
# expression matches. How long `make soak` goes on.
FAULTS = all
SOAK   = 1h

GOLANGCI_LINT = bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK   = bin/govulncheck-$(GOVULNCHECK_VERSION)

# What `make cross` builds.
PACKAGES = ./...

.PHONY: build demo bench test race fuzz faults soak cross fmt lint vuln ci clean

build: ## Caddy with this plugin, as bin/caddy
	go build -o bin/ ./cmd/caddy

demo: ## a bastion, a private web server and Caddy, on this machine
	go run ./cmd/demo

bench: ## against ssh -L and no tunnel, for 45 minutes; see bench/README.md
	go run ./bench

test:
	go test ./...
	go -C layer4 test ./...

race:
	go test -race -timeout 15m ./...
	go -C layer4 test -race ./...

# go test takes one fuzz target at a time.
fuzz:
	@set -e; for target in $$(grep -rEo --include='*_test.go' 'func Fuzz[A-Za-z0-9_]+' . | sed 's/func //'); do \
		file=$${target%%:*}; \
		echo "== $${target##*:}"; \
		go test -timeout 15m -run '^$$' -fuzz "^$${target##*:}\$$" -fuzztime $(FUZZTIME) "$${file%/*}"; \
	done

faults: ## breaks everything while anything is in flight; writes docs/reliability/matrix.md
	FAULTS='$(FAULTS)' RELIABILITY='$(CURDIR)/docs/reliability' \
		go test -count=1 -timeout 5h -parallel 6 -run '^TestFaults$$' -v ./internal/e2e

soak: ## all traffic at once, one fault after the other; writes docs/reliability/soak.md
	SOAK='$(SOAK)' RELIABILITY='$(CURDIR)/docs/reliability' \
		go test -count=1 -timeout 0 -run '^TestSoak$$' -v ./internal/e2e

cross: ## for systems other than Linux
	GOOS=darwin go build $(PACKAGES)
	GOOS=freebsd go build $(PACKAGES)
	GOOS=windows go build $(PACKAGES)

fmt: $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) fmt

lint: $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) run --allow-parallel-runners
	cd layer4 && $(CURDIR)/$(GOLANGCI_LINT) run --allow-parallel-runners

vuln: $(GOVULNCHECK) ## known vulnerabilities in code that is called
	$(GOVULNCHECK) ./...
	cd layer4 && $(CURDIR)/$(GOVULNCHECK) ./...

ci:
	.ci/run

clean:
	rm -rf bin dist

# The version is in the name, so that a new one is fetched when it changes.
$(GOLANGCI_LINT):
	GOBIN="$(CURDIR)/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

$(GOVULNCHECK):
	GOBIN="$(CURDIR)/bin" go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv bin/govulncheck $@

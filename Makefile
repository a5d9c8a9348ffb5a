# The commands of a day's work. `make check` before each commit, `make gate`
# before a change lands. CONTRIBUTING.md has the rest.

GO ?= go
# Tools of the gate (.ci/run builds them); a linter on the PATH will do.
export PATH := $(CURDIR)/.ci/venv/bin:$(PATH)

# Packages whose tests take too long for the check: whole services, outages, many
# servers, real proxies. `make test` and the gate run them.
LONG := /internal/integration(/|$$$$)|/examples(/|$$)|/bench(/|$$)|/cmd/server$$|/internal/(changestream|keycache|keystore|keyadmin|devmongo/conformance)$$

.PHONY: check vet lint unit test docs rules gate

# Fast: vet, lint, and the tests of everything but the long packages.
check: vet lint unit

vet:
	$(GO) vet ./...
	$(GO) vet -tags=integration ./...
	$(GO) vet -tags=unguarded ./...

lint:
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else \
		echo 'golangci-lint is not there: skipped. Build it with: go build -C tools -o ../.ci/venv/bin/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint'; fi

unit:
	$(GO) test $$($(GO) list ./... | grep -vE '$(LONG)')

test:
	$(GO) test ./...

# Write the generated pages anew.
docs:
	$(GO) test ./internal/config ./internal/mongoclient -run Docs -update
	$(GO) test ./internal/doctest -run Metrics -update

# Write the rules, the dashboard and the manifests with them anew.
rules:
	$(GO) -C deploy/prometheus/generate run .
	$(GO) test ./deploy -run Manifests -update

# Everything that must hold before a change lands. As root on Debian it installs
# what it needs.
gate:
	.ci/run

# The commands of a developer. Each works from a fresh clone.

GO ?= go
export CGO_ENABLED = 0

.PHONY: help build run test tools lint generate fuzz bench screenshots

help: ## show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

build: need-go ## build ./tally, one static binary
	$(GO) build -trimpath -o tally ./cmd/tally

run: build ## build and start Tallystick on https://127.0.0.1:8443
	./tally up

test: need-go ## everything that must pass before a commit
	@$(MAKE) --no-print-directory -j2 tools lint
# Most of them wait for real servers most of the time, so that four at once keep two processors busy.
# Vet is among lint; and who tests needs no tables for a debugger, which take a third of a linker's time.
	$(GO) test -p 4 -parallel 4 -vet=off -ldflags=-w -timeout 12m ./...
	$(RACE) -tags pkcs11 -run 'TestToken|TestManyAtOnce|TestAway|TestCache|TestSettings' ./internal/custody
	$(RACE) ./driver/turns ./internal/discovery ./internal/finding ./internal/audit
	$(RACE) -run 'TestRuns|TestFindings|TestIDs' ./internal/watch

# SQLite and the C library below it are translated C: watching each of their accesses finds nothing of ours and takes
# several times as long. The driver above them is watched.
RACE = CGO_ENABLED=1 $(GO) test -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false -ldflags=-w -timeout 10m

# What tests need beside Go is fetched while vet and staticcheck run.
tools:
	./scripts/test-tools

# Vet builds all there is first: collecting garbage less often saves a sixth of that.
lint: export GOGC = 400
lint:
	test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt -w on these files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

generate: need-go ## write what is made from the code: docs, goldens
	for p in rules internal/config internal/problem internal/server cmd/tally; do $(GO) test ./$$p -update || exit 1; done

fuzz: need-go ## fuzz every parser of foreign bytes for a minute each
	./scripts/fuzz 60s

bench: need-go ## the benchmarks; bench/README.md explains them
	./scripts/bench

screenshots: build ## make the pictures of the README
	./scripts/screenshots

.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { \
		echo "Tallystick needs Go 1.26 or later and 'go' is not on the PATH."; \
		echo "Get it from https://go.dev/dl (unpack to /usr/local, add /usr/local/go/bin to PATH), then run make again."; exit 1; }

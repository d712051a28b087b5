# The plugin, the module beside Redpanda Connect's components, the example that users
# copy, and the check of licences.
MODULES := . connect examples/custom-binary tools/licenses

# A tool by the go.mod that has its version: $(call tool,golangci-lint) run
tool = go tool -modfile=$(CURDIR)/tools/$(1)/go.mod $(1)

# Runs a command in each module.
each = set -e; for module in $(MODULES); do echo "-- $$module: $(1)"; (cd $$module && $(1)); done

.PHONY: test integration flakes busy race fmt vet lint tidy vuln fuzz cover docs findings peers versions sim mutations mutants soak bench bench-guard snapshot ci

test:
	@$(call each,go test -short ./...)

integration:
	go test -count=1 ./internal/kafkatest/... ./integration/...

# The tests whose timing depends on a real cluster, TIMES in a row. The whole output
# of each run that fails is kept in dist/flakes. FLAKES names other packages.
TIMES ?= 20
FLAKES ?=
flakes:
	@.ci/flakes $(TIMES) $(FLAKES)

# The whole suite, RUNS times, beside LOAD processes that compute: no test may
# depend on how fast the machine is.
RUNS ?= 3
LOAD ?= 8
busy:
	@for run in $$(seq $(RUNS)); do echo "-- run $$run of $(RUNS)"; .ci/busy $(LOAD) .ci/test go test -count=1 ./... || exit 1; done

# The core on VERSIONS of Kafka, separated by commas, all at the same time: a line
# each, and all that was counted in dist/versions.log.
VERSIONS ?= all
versions:
	@mkdir -p dist
	@go test ./integration/speed -count=1 -timeout 30m -v -run TestCoreOnVersions -versions $(VERSIONS) >dist/versions.log 2>&1; \
	code=$$?; grep -o 'Kafka [0-9.]*: .* passed.*' dist/versions.log; grep -e '^ *--- FAIL' dist/versions.log; exit $$code

# Without sim, whose scenarios take minutes then: guard, output and randomstreams run the same code.
race:
	@$(call each,go test -short -race -shuffle=on $$(go list ./... | grep -v /sim$$))

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "$$files"; exit 1; }

vet:
	@$(call each,go vet ./...)

lint:
	@$(call each,$(call tool,golangci-lint) run --config $(CURDIR)/.golangci.yml)

# go.mod and go.sum have what is needed, and nothing else.
tidy:
	@$(call each,go mod tidy -diff)
	@$(call each,go mod verify)

vuln:
	@$(call each,$(call tool,govulncheck) ./...)

# FUZZTIME for each target; a schedule that fails is kept under testdata.
FUZZTIME ?= 5m
fuzz:
	go test ./guard/internal/code -run '^$$' -fuzz FuzzOf -fuzztime $(FUZZTIME)
	go test ./guard -run '^$$' -fuzz FuzzWriteAgainstTheLog -fuzztime $(FUZZTIME)
	go test ./guard -run '^$$' -fuzz FuzzBrokerAnswers -fuzztime $(FUZZTIME)
	go test ./guard -run '^$$' -fuzz FuzzFailureText -fuzztime $(FUZZTIME)
	go test ./output -run '^$$' -fuzz FuzzDeadLetterIsOneLine -fuzztime $(FUZZTIME)
	go test ./config -run '^$$' -fuzz FuzzHTTPGatewayText -fuzztime $(FUZZTIME)

cover:
	@$(call each,go test -short -coverpkg=./... -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -1)

# What the software around us does other than one would guess: not in CI.
findings:
	@set -e; for finding in findings/*.sh; do [ $$finding = findings/lib.sh ] || { echo "-- $$finding"; $$finding; }; done

# What other producers make of one bad message, all of peers/ or PEERS: not in CI.
# WRITE=1 puts it into docs/peers.md.
PEERS ?=
peers:
	@peers/run $(PEERS)

# What is generated out of the code.
docs:
	go test ./output -run TestReferenceIsUpToDate -update

# The simulation in virtual time: MESSAGES in random scenarios, from the seed FIRST on.
MESSAGES ?= 10000000
FIRST ?= 1
sim:
	go test ./sim -timeout 0 -run TestRandom -messages $(MESSAGES) -first $(FIRST) -keep-on -v

# Breaks guard on purpose, in each way of a table, and sees that sim notices.
mutations:
	go test ./sim -timeout 0 -run TestMutationsAreNoticed -mutations all -v

# Breaks guard in one small way after the other, and runs the tests of guard. MUTANTS has
# the flags, see tools/mutants/main.go: without any, all mutants take hours.
MUTANTS ?=
mutants:
	go run ./tools/mutants $(MUTANTS)

# Real Kafka at full load and with faults, for HOURS. What it found is in SOAK_OUT;
# with WRITE=1 it goes into docs/soak.md, too. SEED draws the faults.
HOURS ?= 1
SEED ?= 0
SOAK_OUT ?= $(CURDIR)/dist/soak
soak:
	@mkdir -p $(SOAK_OUT)
	@go test ./soak -timeout 0 -count=1 -v -hours $(HOURS) -seed $(SEED) -out $(SOAK_OUT) \
		$(if $(wildcard /dev/shm),-data /dev/shm) $(if $(WRITE),-write $(CURDIR)/docs/soak.md) >$(SOAK_OUT)/soak.log 2>&1; \
	code=$$?; cat $(SOAK_OUT)/account.md; grep -e ' -seed ' -e RESULT -e '^---' $(SOAK_OUT)/soak.log; \
	grep -A25 'Error Trace' $(SOAK_OUT)/soak.log; exit $$code

bench:
	cd connect && go run ./bench $(if $(wildcard /dev/shm),-data /dev/shm) -for 55m -json bench.json -write ../docs/performance.md

bench-guard:
	go test ./guard -run '^$$' -bench WriteRatio -benchtime 60x

# A release in dist/, for this machine alone, of what is in the folder.
snapshot:
	sed 's/goos: \[.*/goos: [ $(shell go env GOOS) ]/; s/goarch: \[.*/goarch: [ $(shell go env GOARCH) ]/' .goreleaser.yaml > dist.yaml
	$(call tool,goreleaser) check
	$(call tool,goreleaser) release --config dist.yaml --snapshot --clean
	rm dist.yaml

ci:
	.ci/run

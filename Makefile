.PHONY: test integration race lint fuzz bench bench-guard ci

test:
	go test -short ./...

integration:
	go test -count=1 ./internal/kafkatest/... ./integration/...

race:
	go test -short -race -shuffle=on ./...

lint:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

fuzz:
	go test ./guard -run '^$$' -fuzz FuzzWriteAgainstTheLog -fuzztime 5m

bench:
	cd connect && go run ./bench $(if $(wildcard /dev/shm),-data /dev/shm) -write ../docs/performance.md

bench-guard:
	go test ./guard -run '^$$' -bench WriteRatio -benchtime 60x

ci:
	.ci/run

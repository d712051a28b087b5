.PHONY: test integration race lint fuzz bench ci

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
	go test ./guard -run '^$$' -bench Write -benchmem -count 10

ci:
	.ci/run

// Package integration shows what kafka_guarded promises on real Apache Kafka,
// with the real Benthos engine: every message that a stream was given is in
// the topic once, or among the dead letters once, and the dead letters are
// exactly those that deserve it.
//
//	go test ./integration/...
//
// It takes Java 17 or newer and, for the first run, Maven: see package
// internal/kafkatest, also for how to run it against a cluster of your own.
// Without them the tests skip, unless CI=true is set, and under -short.
//
// Each scenario ends with a line of counts that begins with RESULT:
//
//	go test -v ./integration/... | grep -o 'RESULT.*'
package integration

// Package integration has no code. The packages below it show what kafka_guarded
// promises on real Apache Kafka, with the real Benthos engine: every message that
// a stream was given is in the topic once, or among the dead letters once, and the
// dead letters are exactly the bad ones.
//
//	go test ./integration/...
//
// access is about rights, credentials and quotas; content about what a broker
// rejects, and where messages go; faults about nodes and networks that fail;
// outages about brokers and outputs that do not answer, and shutdowns; speed about
// full load, and versions of Kafka. Each package takes four minutes at most, and
// they run beside each other.
//
// They take Java 17 or newer and, for the first run, Maven: see package
// internal/kafkatest, also for how to run them against a cluster of your own.
// Without Java the tests skip, unless CI=true is set, and under -short.
//
// Each scenario ends with a line of counts that begins with RESULT:
//
//	go test -v ./integration/... | grep -o 'RESULT.*'
package integration

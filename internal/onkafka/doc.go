// Package onkafka has what the packages under integration/ share: clusters of Apache
// Kafka, streams of the real Benthos engine to them, and a checker of the
// outcome of every message.
package onkafka

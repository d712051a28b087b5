// Package onkafka is what the packages under integration/ share: clusters of Apache
// Kafka, streams of the real Benthos engine to them, and an account of
// every message.
package onkafka

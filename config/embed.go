// Package config has the configs that come with kafka-guarded.
package config

import _ "embed"

// Example is example.yaml: messages to Kafka, and by way of a fallback to files
// what Kafka can't take. It reads the environment variables KAFKA_BROKERS,
// DEAD_LETTERS (a directory), MESSAGES and POISON.
//
//go:embed example.yaml
var Example []byte

// DeadLetter is dead-letter.yaml: the same as Example, by way of the output's
// own dead_letter.
//
//go:embed dead-letter.yaml
var DeadLetter []byte

// HTTPGateway is http_gateway.yaml: records that are posted over HTTP to Kafka, and
// what became of each as the answer. It reads the environment variables
// KAFKA_BROKERS, HTTP_ADDRESS, HTTP_TIMEOUT and GIVE_UP_AFTER.
//
//go:embed http_gateway.yaml
var HTTPGateway []byte

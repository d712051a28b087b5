// Package config has the configs that come with kafka-guarded.
package config

import _ "embed"

// Example is example.yaml: it writes messages to Kafka, and those that Kafka can't
// take to files, by the output's dead_letter. It reads the environment variables
// KAFKA_BROKERS, DEAD_LETTERS (a directory), MESSAGES and POISON.
//
//go:embed example.yaml
var Example []byte

// Fallback is fallback.yaml: the same as Example, by a fallback around the output.
//
//go:embed fallback.yaml
var Fallback []byte

// HTTPGateway is http_gateway.yaml: it writes records that are posted over HTTP to
// Kafka, and answers with the outcome of each. It reads the environment variables
// KAFKA_BROKERS, HTTP_ADDRESS, HTTP_TIMEOUT and GIVE_UP_AFTER.
//
//go:embed http_gateway.yaml
var HTTPGateway []byte

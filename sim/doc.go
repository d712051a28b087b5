// Package sim is the simulation. It runs guard and kgo against kfake in virtual time.
// kfake answers as Apache Kafka, Redpanda and other brokers do, and faults happen at
// every step of the protocol. Each test compares guard's verdicts with the log.
//
// A plan describes one scenario as data: its records and its cluster, and its faults
// with their times. Plans come from three places: all small ones are enumerated
// (small_test.go), others are drawn from a seed (random_test.go), and plans on which
// guard once failed are kept (testdata, known_test.go). See "The simulation" in
// docs/testing.md.
package sim

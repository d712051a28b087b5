// Package sim is the simulation: guard, kgo and kfake in virtual time, with brokers
// of every dialect, faults at every step of the protocol, and an oracle that compares
// guard's verdicts with the log.
//
// A plan is data: the parts of a scenario, and its faults with their times. Plans are
// enumerated (small_test.go), made at random from a seed (random_test.go), or
// kept because guard once failed on them (testdata, known_test.go). See "The
// simulation" in docs/testing.md.
package sim

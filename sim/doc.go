// Package sim is the simulation: guard, kgo and kfake in virtual time, with brokers
// of every dialect, trouble at every step of the protocol, and an oracle that holds
// what guard says against what is in the log.
//
// A plan is data: what a world is made of, and what goes wrong in it when. Plans
// are enumerated (small_test.go), made at random from a seed (random_test.go), or
// kept because guard once failed on them (testdata, known_test.go). See "The
// simulation" in docs/testing.md.
package sim

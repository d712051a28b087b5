// Package model has no code, only a test: random streams, with random messages
// to blame, random faults of the broker and of the dead-letter output and random
// shutdowns, held against what the output promises. See oracle in ledger_test.go
// for the promise.
package model

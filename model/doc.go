// Package model has no code, only a test: random streams, with random messages
// that fail, random processors that change what is where in a batch, random faults
// of the broker and of the dead-letter output and random shutdowns, held against
// what the output promises. See Ledger.Check in internal/ledger for the promise.
package model

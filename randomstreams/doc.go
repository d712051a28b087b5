// Package randomstreams has no code, only a test. It runs random streams: random messages
// that fail, processors that change the positions of messages in a batch, faults of
// the broker and of the dead-letter output, and shutdowns. Checker.Check in
// internal/deliverycheck then checks what the output promises.
package randomstreams

// Package canary has no code, only tests. They assert how Benthos and franz-go
// behave today, where that is a trap which the rest of this module works around.
// A test that fails after an upgrade says what is mended, and what of ours can
// be simpler now. It is no sign that the output is broken.
package canary

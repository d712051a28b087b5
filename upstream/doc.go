// Package upstream has no code, only tests. They assert how Benthos and franz-go
// behave today, where this module works around that. A test that fails after an
// upgrade says what is mended, and what of ours can be simpler now. It does not mean
// that the output is broken.
package upstream

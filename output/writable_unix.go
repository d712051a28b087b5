//go:build linux || darwin || freebsd

package output

import (
	"io/fs"
	"syscall"
)

// writable reports whether a file or a directory may be written to.
func writable(name string) error {
	const forWriting = 2 // W_OK
	if err := syscall.Access(name, forWriting); err != nil {
		return &fs.PathError{Op: "writing to", Path: name, Err: err}
	}
	return nil
}

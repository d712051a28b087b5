//go:build !linux && !darwin && !freebsd

package output

// writable is not found out on systems whose rights are in lists.
func writable(string) error { return nil }

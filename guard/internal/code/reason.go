package code

import (
	"strconv"
	"strings"
)

// Reason is why a record fails. A guard.Failure is made of it.
type Reason struct {
	Class Class
	// Bytes, LimitName and Limit are set if the size decides. Limit is 0 if unknown.
	Bytes     int
	LimitName string
	Limit     int
	// Problem is a text that adds to the cause.
	Problem string
	// Cause is the error of the broker or of the client. May be nil.
	Cause error
}

// Error returns the problem, the size and the cause, as far as they are set.
func (r *Reason) Error() string { return r.Text("") }

// Text is Error with a remark before the cause.
func (r *Reason) Text(remark string) string {
	var parts []string
	if r.Problem != "" {
		parts = append(parts, r.Problem)
	}
	if r.LimitName != "" {
		size := strconv.Itoa(r.Bytes) + " bytes exceed " + r.LimitName
		if r.Limit > 0 {
			size += " (" + strconv.Itoa(r.Limit) + ")"
		}
		parts = append(parts, size)
	}
	if remark != "" {
		parts = append(parts, remark)
	}
	if r.Cause != nil {
		parts = append(parts, r.Cause.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (r *Reason) Unwrap() error { return r.Cause }

package check

import (
	"fmt"
	"io"
)

// severity says how bad a finding is.
type severity string

const (
	fine     severity = "ok"
	notKnown severity = "?"    // the cluster does not tell
	doubtful severity = "warn" // it works, but perhaps not as it is meant
	failing  severity = "fail" // messages would fail, or wait without end
)

// finding is one thing that was found out: what, and what to do about it.
type finding struct {
	severity severity
	text     string
}

// findings are what was found out about an output.
type findings []finding

func (f *findings) add(s severity, text string, args ...any) {
	*f = append(*f, finding{s, fmt.Sprintf(text, args...)})
}

func (f findings) failing() bool {
	for _, one := range f {
		if one.severity == failing {
			return true
		}
	}
	return false
}

func (f findings) print(w io.Writer) {
	for _, one := range f {
		fmt.Fprintf(w, "  %-4s  %s\n", one.severity, one.text)
	}
}

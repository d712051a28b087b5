package check

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// severity says how bad a finding is.
type severity string

const (
	fine     severity = "ok"
	notKnown severity = "?"    // the cluster does not say
	doubtful severity = "warn" // it works, but perhaps not as intended
	failing  severity = "fail" // messages would fail, or wait without end
)

// finding is a line of the report: a fact, and what to do about it.
type finding struct {
	severity severity
	text     string
}

// findings are those about one output.
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

// colors are those of a terminal, by severity.
var colors = map[severity]string{fine: "32", notKnown: "36", doubtful: "33", failing: "31"}

// printer prints findings, and counts them.
type printer struct {
	io.Writer
	colored bool
	outputs int
	counts  map[severity]int
}

func newPrinter(w io.Writer) *printer {
	file, isFile := w.(*os.File)
	return &printer{Writer: w, colored: isFile && term.IsTerminal(int(file.Fd())) && takesColors(), counts: map[severity]int{}}
}

// takesColors reports whether the environment allows colors in a terminal, see no-color.org.
func takesColors() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

func (p *printer) findings(f findings) {
	for _, one := range f {
		p.counts[one.severity]++
		word := fmt.Sprintf("%-4s", one.severity)
		if p.colored {
			word = "\x1b[" + colors[one.severity] + "m" + word + "\x1b[0m"
		}
		fmt.Fprintf(p, "  %s  %s\n", word, one.text)
	}
}

// sum is the last line: how many findings there are of each kind.
func (p *printer) sum() {
	var counts []string
	for _, s := range []severity{fine, notKnown, doubtful, failing} {
		if n := p.counts[s]; n > 0 || s == fine || s == failing {
			counts = append(counts, fmt.Sprintf("%d %s", n, s))
		}
	}
	outputs := "1 output"
	if p.outputs != 1 {
		outputs = fmt.Sprintf("%d outputs", p.outputs)
	}
	fmt.Fprintf(p, "%s: %s\n", outputs, strings.Join(counts, ", "))
}

package guard

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// Failure is the error of a record without an ack.
//
// Match it with errors.As; it unwraps to its cause, for example a *kerr.Error
// or kgo.ErrClientClosed. It never holds the record's key, value or headers.
type Failure struct {
	Class   Class
	Outcome Outcome // Unknown or NotWritten
	Topic   string
	// Partition is -1 where none was chosen yet.
	Partition int32
	// Bytes is the size that was compared: for SizeExceeded, that of a batch
	// with this record alone, as sent. 0 where size does not matter.
	Bytes int
	// Limit is the number of bytes that Bytes exceeds, 0 where it is not
	// known.
	Limit int
	// LimitName is the name of the limit, for example "max_message_bytes".
	LimitName string
	// Problem is a text beside the cause, for example "illegal topic name".
	// May be empty.
	Problem string
	// Cause is the error of the broker or of the client. May be nil.
	Cause error
}

// Error returns the text that users match and route by: the class and a colon
// first, then topic and partition, then what decided.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Class.String())
	b.WriteByte(':')
	// An illegal topic name may be part of a message, and is left out.
	if CheckTopic(f.Topic) == nil {
		b.WriteString(" topic ")
		b.WriteString(f.Topic)
		if f.Partition >= 0 {
			b.WriteString(" partition ")
			b.WriteString(strconv.Itoa(int(f.Partition)))
		}
		b.WriteByte(':')
	}
	remark := ""
	if f.Outcome == Unknown {
		remark = "may have been written"
	}
	r := code.Reason{Bytes: f.Bytes, Limit: f.Limit, LimitName: f.LimitName, Problem: f.Problem, Cause: f.Cause}
	if text := r.Text(remark); text != "" {
		b.WriteByte(' ')
		b.WriteString(text)
	}
	return printable(b.String())
}

// maxFailureText is the length in bytes of the longest text of a failure.
const maxFailureText = 2000

// printable makes one line of a text, whatever the broker or a dialer put into it: it goes
// to logs, headers and metadata.
func printable(text string) string {
	if len(text) > maxFailureText {
		text = text[:maxFailureText-len(" ...")] + " ..."
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// failureOf returns the failure of a record that fails for a reason, without the topic and
// partition.
func failureOf(r *code.Reason) *Failure {
	return &Failure{Class: Class(r.Class), Bytes: r.Bytes, Limit: r.Limit, LimitName: r.LimitName, Problem: r.Problem, Cause: r.Cause}
}

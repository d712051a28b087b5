package guard

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
)

// FuzzFailureText has names of topics, reasons and causes of any kind. The text is one line
// that any log, header or metadata takes, of a bounded length, and begins as users match it.
func FuzzFailureText(f *testing.F) {
	for _, text := range []string{"", "t", "a\nb", "a\r\nSet-Cookie: a=b", "\x1b[31mred", "\u2028", "\u202egnp", "\xff\xfe", "\x00", "\u0085", strings.Repeat("x", 5_000)} {
		f.Add(text, text, text, uint8(3))
	}
	f.Fuzz(func(t *testing.T, topic, problem, cause string, class uint8) {
		failure := &Failure{
			Class: Class(class), Outcome: Outcome(class % 3), Topic: topic, Partition: int32(class) - 1,
			Bytes: 1, LimitName: problem, Problem: problem, Cause: errors.Join(errors.New(cause), kerr.InvalidRecord),
		}
		text := failure.Error()
		require.True(t, strings.HasPrefix(text, Class(class).String()+":"), text)
		require.True(t, utf8.ValidString(text), "%q", text)
		require.LessOrEqual(t, len(text), maxFailureText)
		for _, r := range text {
			require.True(t, unicode.IsPrint(r), "%q has %q", text, r)
		}
		require.ErrorIs(t, failure, kerr.InvalidRecord)
	})
}

package deadletters

import (
	"regexp"
	"strings"
)

// fold returns the reason in an error text: without the class, the topic and the
// partition, which are counted by themselves, and with letters for numbers and times. So
// all letters that failed for one reason have the same.
//
//	size_exceeded: topic orders: 3145796 bytes exceed the topic's max.message.bytes (1048588)
//	N bytes exceed the topic's max.message.bytes (M)
func fold(text, class, topic string) string {
	if text == "" {
		return "no reason is given"
	}
	text = strings.TrimPrefix(text, class+": ")
	if topic != "" {
		text = strings.TrimPrefix(text, "topic "+topic)
	}
	text = strings.TrimPrefix(text, " ")
	if rest, ok := strings.CutPrefix(text, "partition "); ok {
		text = strings.TrimLeft(rest, "0123456789")
	}
	return letters(times.ReplaceAllString(strings.TrimPrefix(text, ": "), "T"))
}

// times are those of Failure's texts (RFC 3339).
var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)

// names are what numbers are folded to, in their order in a text.
const names = "NMKLPQRS"

// letters writes letters in place of the numbers of a text. Digits that are part of
// a word, such as in v2, stay.
func letters(text string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(text); {
		c := text[i]
		if !digit(c) || i > 0 && wordly(text[i-1]) {
			b.WriteByte(c)
			i++
			continue
		}
		end := i
		for end < len(text) && digit(text[end]) {
			end++
		}
		if end < len(text) && wordly(text[end]) {
			b.WriteString(text[i:end])
		} else {
			b.WriteByte(names[min(n, len(names)-1)])
			n++
		}
		i = end
	}
	return b.String()
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordly(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c)
}

package deadletters

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// shownBytes is how much of a payload is shown by default.
const shownBytes = 2000

// shower writes letters, as text or as JSON.
type shower struct {
	w       *bufio.Writer
	offsets bool // only the places of the letters
	json    bool // a letter a line, as in files
	full    bool // payloads as a whole
	n       int64
}

func (s *shower) show(l *Letter) error {
	s.n++
	switch {
	case s.offsets:
		fmt.Fprintln(s.w, l.at)
	case s.json:
		line, err := pack(l.packed(), l.body)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.w, "%s\n", line)
	default:
		s.letter(l)
	}
	return s.w.Flush() // for a pager
}

func (s *shower) letter(l *Letter) {
	class := text(l.class)
	if class == "" {
		class = "no dead letter of kafka_guarded"
	}
	fmt.Fprintf(s.w, "== %s  %s\n", l.at, oneLine(class))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(s.w, "%-10s %s\n", name, oneLine(value))
		}
	}
	if at := l.time(); !at.IsZero() {
		line("failed at", stamp(at))
	}
	topic := text(l.topic)
	if l.partition >= 0 {
		topic += fmt.Sprintf(", partition %d", l.partition)
	}
	line("topic", topic)
	switch {
	case l.key == nil:
		line("key", "none (null)")
	case utf8.Valid(l.key):
		line("key", string(l.key))
	default:
		line("key", fmt.Sprintf("%d bytes: %x", len(l.key), l.key[:min(len(l.key), 64)]))
	}
	if l.timestamp != noTime {
		line("timestamp", time.UnixMilli(l.timestamp).UTC().Format(time.RFC3339Nano))
	}
	line("reason", text(l.err))
	if l.attempts > 0 {
		line("sent again", fmt.Sprintf("%d times, without success", l.attempts))
	}
	name := "headers"
	for _, h := range l.meta {
		if own(h.Key) && h.Key != metaLetterErr {
			continue
		}
		value := text(h.Value)
		if !utf8.Valid(h.Value) {
			value = fmt.Sprintf("%d bytes: %x", len(h.Value), h.Value[:min(len(h.Value), 64)])
		}
		fmt.Fprintf(s.w, "%-10s %s: %s\n", name, oneLine(text([]byte(h.Key))), oneLine(value))
		name = ""
	}
	s.payload(l.body)
}

func (s *shower) payload(body []byte) {
	if body == nil {
		fmt.Fprintf(s.w, "%-10s none (null)\n\n", "payload")
		return
	}
	fmt.Fprintf(s.w, "%-10s %s bytes\n", "payload", humanize.Comma(int64(len(body))))
	shown := body
	if !s.full && len(shown) > shownBytes {
		shown = shown[:shownBytes]
		for len(shown) > 0 && utf8.Valid(body) && !utf8.Valid(shown) {
			shown = shown[:len(shown)-1] // not in the middle of a character
		}
	}
	switch {
	case !utf8.Valid(shown):
		fmt.Fprint(s.w, hex.Dump(shown))
	case len(shown) == len(body) && len(body) <= shownBytes && json.Valid(body) && (body[0] == '{' || body[0] == '['):
		var indented bytes.Buffer
		_ = json.Indent(&indented, body, "", "  ")
		fmt.Fprintf(s.w, "%s\n", visible(indented.String()))
	default:
		fmt.Fprintln(s.w, visible(strings.TrimSuffix(string(shown), "\n")))
	}
	if rest := len(body) - len(shown); rest > 0 {
		fmt.Fprintf(s.w, "... %s bytes more: --full shows them\n", humanize.Comma(int64(rest)))
	}
	fmt.Fprintln(s.w)
}

// visible returns a text with its control characters as \x1b and the like, but for tabs and
// ends of lines. A terminal would obey them, and a message may have any.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if unicode.IsControl(r) && r != '\t' && r != '\n' && !strings.HasPrefix(s[i:], "\r\n") {
			fmt.Fprintf(&b, `\x%02x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// oneLine is visible for a text that stands in a line with others.
func oneLine(s string) string {
	return visible(strings.NewReplacer("\r\n", `\r\n`, "\n", `\n`).Replace(s))
}

// newShower writes to w.
func newShower(w io.Writer) *shower { return &shower{w: bufio.NewWriter(w)} }

package output

import (
	"bytes"
	"encoding/json"
	"regexp"
	"unicode/utf8"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// letterFormat is how the content of a dead letter is written.
type letterFormat int

const (
	formatAuto letterFormat = iota
	formatEnvelope
	formatMessage
)

var formats = options[letterFormat]{
	{"auto", "`envelope` if `dead_letter` is a `file` of lines without processors, whose path does not depend on the content: such a file has no place for metadata, and the reason would be lost. Otherwise `message`.", formatAuto},
	{"envelope", "A line of JSON with the metadata and the body: `{\"metadata\": {\"kafka_guarded_class\": \"size_exceeded\", ...}, \"body\": \"...\"}`. A body that is no UTF-8 is in `body_base64` instead, and so are such values of the metadata in `metadata_base64`. The body of a record with a null value is `null`. The command `dead-letters` reads and redrives it.", formatEnvelope},
	{"message", "The content of the message as it is, with the reason in its metadata.", formatMessage},
}

// formatOf returns the format for dead letters to an output.
func formatOf(f letterFormat, child any) letterFormat {
	if f != formatAuto {
		return f
	}
	file, plain := errorrouting.PlainFile(child)
	if plain && !readsContent.MatchString(file) {
		return formatEnvelope
	}
	return formatMessage
}

// readsContent matches the interpolations of a path that may depend on the content.
var readsContent = regexp.MustCompile(`\$\{!(.*\b(json|this|content|root|batch_index)\b|\s*[a-z_]+\s*\})`)

// envelope is the content of a dead letter that has its metadata and its body. The
// command dead-letters reads it.
type envelope struct {
	Metadata       map[string]string `json:"metadata"`
	MetadataBase64 map[string][]byte `json:"metadata_base64,omitempty"`
	Body           *string           `json:"body"`
}

// binaryEnvelope is an envelope whose body is no UTF-8.
type binaryEnvelope struct {
	Metadata       map[string]string `json:"metadata"`
	MetadataBase64 map[string][]byte `json:"metadata_base64,omitempty"`
	Body           []byte            `json:"body_base64"`
}

// pack puts the metadata and the body of a dead letter into its content. The
// metadata stay, for a path or a switch that asks for them.
func pack(l *service.Message, r *kgo.Record) {
	var e envelope
	e.Metadata = map[string]string{}
	_ = l.MetaWalk(func(name, value string) error {
		if utf8.ValidString(value) {
			e.Metadata[name] = value
			return nil
		}
		if e.MetadataBase64 == nil {
			e.MetadataBase64 = map[string][]byte{}
		}
		e.MetadataBase64[name] = []byte(value)
		return nil
	})
	null := r != nil && r.Value == nil
	body, _ := l.AsBytes() // content that can't be serialised is empty
	var line any = &e
	switch {
	case null:
	case utf8.Valid(body):
		text := string(body)
		e.Body = &text
	default:
		line = binaryEnvelope{e.Metadata, e.MetadataBase64, body}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(line) // a line of texts and bytes can't fail
	l.SetBytes(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

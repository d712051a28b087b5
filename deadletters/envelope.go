package deadletters

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// envelope is a letter in a file, a line of JSON. Metadata that is no text is in
// metadata_base64, and such a body in body_base64.
type envelope struct {
	Metadata       map[string]json.RawMessage `json:"metadata"`
	MetadataBase64 map[string]string          `json:"metadata_base64"`
	Body           json.RawMessage            `json:"body"`
	BodyBase64     *string                    `json:"body_base64"`
}

// recipe is a letter in the former format of config/example.yaml.
type recipe struct {
	Error    *string `json:"error"`
	Topic    *string `json:"topic"`
	Key      *string `json:"key"`
	FailedAt *string `json:"failed_at"`
	Message  *string `json:"message"`
}

// letterOf reads a line of a file. A line that is no envelope is a letter without
// metadata.
func letterOf(at place, line []byte) Letter {
	if len(line) > 0 && line[0] == '{' {
		switch {
		case bytes.Contains(line, []byte(`"metadata"`)):
			if l, ok := unpack(at, line); ok {
				return l
			}
		case bytes.Contains(line, []byte(`"failed_at"`)):
			if l, ok := fromRecipe(at, line); ok {
				return l
			}
		}
	}
	return newLetter(at, nil, line, time.Time{})
}

func unpack(at place, line []byte) (Letter, bool) {
	var e envelope
	if json.Unmarshal(line, &e) != nil || e.Metadata == nil || e.Body == nil && e.BodyBase64 == nil {
		return Letter{}, false
	}
	var meta []kgo.RecordHeader
	for name, raw := range e.Metadata {
		var value string
		if json.Unmarshal(raw, &value) != nil {
			value = string(raw) // a number, or another value of a mapping
		}
		if name == metaKey+"_base64" {
			key, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return Letter{}, false
			}
			name, value = metaKey, string(key)
		}
		meta = append(meta, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	for name, value := range e.MetadataBase64 {
		b, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return Letter{}, false
		}
		meta = append(meta, kgo.RecordHeader{Key: name, Value: b})
	}
	slices.SortFunc(meta, func(a, b kgo.RecordHeader) int { return strings.Compare(a.Key, b.Key) })
	var body []byte
	if e.BodyBase64 != nil {
		b, err := base64.StdEncoding.DecodeString(*e.BodyBase64)
		if err != nil {
			return Letter{}, false
		}
		body = append([]byte{}, b...)
	} else if string(e.Body) != "null" {
		var s string
		if json.Unmarshal(e.Body, &s) == nil {
			body = append([]byte{}, s...)
		} else {
			body = e.Body // the body is JSON
		}
	}
	return newLetter(at, meta, body, time.Time{}), true
}

func fromRecipe(at place, line []byte) (Letter, bool) {
	var r recipe
	if json.Unmarshal(line, &r) != nil || r.Error == nil || r.Message == nil {
		return Letter{}, false
	}
	var meta []kgo.RecordHeader
	add := func(name string, value *string) {
		if value != nil {
			meta = append(meta, kgo.RecordHeader{Key: name, Value: []byte(*value)})
		}
	}
	add(metaError, r.Error)
	add(metaTopic, r.Topic)
	add(metaKey, r.Key)
	add(metaFailedAt, r.FailedAt)
	return newLetter(at, meta, []byte(*r.Message), time.Time{}), true
}

// pack is a letter as a line of a file, without the line's end.
func pack(meta []kgo.RecordHeader, body []byte) ([]byte, error) {
	e := struct {
		Metadata       map[string]string `json:"metadata"`
		MetadataBase64 map[string]string `json:"metadata_base64,omitempty"`
		Body           any               `json:"body"`
	}{Metadata: map[string]string{}}
	for _, h := range meta {
		if utf8.Valid(h.Value) {
			e.Metadata[h.Key] = string(h.Value)
			continue
		}
		if e.MetadataBase64 == nil {
			e.MetadataBase64 = map[string]string{}
		}
		e.MetadataBase64[h.Key] = base64.StdEncoding.EncodeToString(h.Value)
	}
	if body != nil {
		e.Body = string(body)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	var err error
	if utf8.Valid(body) {
		err = enc.Encode(e)
	} else {
		err = enc.Encode(struct {
			Metadata       map[string]string `json:"metadata"`
			MetadataBase64 map[string]string `json:"metadata_base64,omitempty"`
			BodyBase64     []byte            `json:"body_base64"`
		}{e.Metadata, e.MetadataBase64, body})
	}
	if err != nil {
		return nil, fmt.Errorf("writing a letter as JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

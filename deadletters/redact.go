package deadletters

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// redacted is the form of a content: of JSON the names and types without the values, of
// other content its length.
func redacted(content []byte) string {
	if content == nil {
		return "none (null)"
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	var v any
	if len(content) > 0 && (content[0] == '{' || content[0] == '[') && d.Decode(&v) == nil && !d.More() {
		out, err := json.MarshalIndent(form(v), "", "  ")
		if err == nil {
			return string(out)
		}
	}
	if utf8.Valid(content) {
		return fmt.Sprintf("text, %d bytes", len(content))
	}
	return fmt.Sprintf("binary, %d bytes", len(content))
}

// form returns a JSON value with descriptions in place of texts and numbers.
func form(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = form(v[name])
		}
		return v
	case []any:
		const most = 3
		if len(v) > most {
			rest := fmt.Sprintf("%d more", len(v)-most)
			v = append(v[:most:most], nil)
			for i := range most {
				v[i] = form(v[i])
			}
			v[most] = rest
			return v
		}
		for i := range v {
			v[i] = form(v[i])
		}
		return v
	case string:
		return fmt.Sprintf("text, %d characters", utf8.RuneCountInString(v))
	case json.Number:
		return "number"
	case bool:
		return "true or false"
	}
	return v // null
}

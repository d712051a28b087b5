package output

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// parser reads fields, and collects all mistakes in them.
type parser struct {
	conf   *service.ParsedConfig
	prefix string // before the names of fields in errors
	found  *mistakes
	// linting is set for the linter, which runs together with Benthos' own.
	linting bool
}

// mistakes are the mistakes that all parsers of a config have found.
type mistakes struct {
	all    []mistake
	fields map[string]struct{} // fields with a mistake
}

// mistake is one mistake.
type mistake struct {
	field string // of the output, empty if unknown
	text  string
	// across is set if two fields exclude each other, while each alone may be right.
	across bool
}

func (m *mistakes) none() bool { return len(m.all) == 0 }

func newParser(conf *service.ParsedConfig) *parser {
	return &parser{conf: conf, found: &mistakes{fields: map[string]struct{}{}}}
}

// in returns the parser of the fields of an object.
func (p *parser) in(field string) *parser { return p.of(p.conf.Namespace(field), field) }

// of returns the parser of an object, which is the value of field.
func (p *parser) of(conf *service.ParsedConfig, field string) *parser {
	return &parser{conf: conf, prefix: p.prefix + field + ".", found: p.found, linting: p.linting}
}

// fail adds a mistake in a field. The text follows the name of the field.
func (p *parser) fail(field, text string, args ...any) {
	p.note(false, field, text, args...)
}

// clash is fail for two fields of the output that exclude each other.
func (p *parser) clash(field, text string, args ...any) {
	p.note(true, field, text, args...)
}

func (p *parser) note(across bool, field, text string, args ...any) {
	name := p.prefix + field
	p.found.fields[name] = struct{}{}
	p.found.all = append(p.found.all, mistake{topField(name), name + " " + fmt.Sprintf(text, args...), across})
}

// topField returns the field of the output that contains a field such as
// sasl[0].mechanism.
func topField(name string) string {
	if i := strings.IndexAny(name, ".["); i >= 0 {
		return name[:i]
	}
	return name
}

// fine reports whether no mistake was found in these fields, so that they can be
// compared with each other.
func (p *parser) fine(fields ...string) bool {
	for _, field := range fields {
		if _, wrong := p.found.fields[p.prefix+field]; wrong {
			return false
		}
	}
	return true
}

// err returns all mistakes.
func (p *parser) err() error {
	if p.found.none() {
		return nil
	}
	var texts []string
	for _, m := range p.found.all {
		texts = append(texts, m.text)
	}
	return errors.New(strings.Join(texts, "; "))
}

// has reports whether a field is set. Null and an empty text count as not set: the
// command create writes these into configs.
func (p *parser) has(field string) bool {
	if !p.conf.Contains(field) {
		return false
	}
	v, err := p.conf.FieldAny(field)
	if node, ok := v.(interface{ Decode(any) error }); ok {
		err = node.Decode(&v)
	}
	return err != nil || v != nil && v != ""
}

func parse[T any](p *parser, field string, get func(...string) (T, error)) T {
	v, err := get(field)
	if err != nil {
		p.fail(field, "can't be read: %s", plain(err))
	}
	return v
}

// around matches text that the config parser adds to a mistake: the field, which the
// text already has, and a position in a text that the user does not see.
var around = regexp.MustCompile(`^field '[^']*': |yaml: unmarshal errors:\s*|line \d+: |^\(\d+,\d+\) |failed to parse (interpolated field|bloblang mapping) '[^']*': `)

func plain(err error) string { return around.ReplaceAllString(err.Error(), "") }

// optional is parse for a field that may be left out.
func optional[T any](p *parser, field string, get func(...string) (T, error)) (v T) {
	if p.has(field) {
		v = parse(p, field, get)
	}
	return v
}

// mapping is optional for a field with a mapping or an interpolation. When linting, it
// leaves mistakes to Benthos' own linter, which knows the functions and methods of the
// environment.
func mapping[T any](p *parser, field string, get func(...string) (T, error)) (v T) {
	if !p.has(field) {
		return v
	}
	v, err := get(field)
	switch {
	case err == nil:
	case p.linting:
		p.found.fields[p.prefix+field] = struct{}{}
	default:
		p.fail(field, "can't be read: %s", plain(err))
	}
	return v
}

func (p *parser) string(field string) string    { return parse(p, field, p.conf.FieldString) }
func (p *parser) strings(field string) []string { return parse(p, field, p.conf.FieldStringList) }
func (p *parser) bool(field string) bool        { return parse(p, field, p.conf.FieldBool) }

// duration reads a duration within bounds.
func (p *parser) duration(field string, least, most time.Duration) time.Duration {
	d := p.durationOf(field, p.string(field))
	if p.fine(field) && (d < least || d > most) {
		p.fail(field, "is %s, it must be from %s to %s", brief(d), brief(least), brief(most))
	}
	return d
}

func (p *parser) durationOf(field, text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		p.fail(field, "is %q, it must be a duration such as 10s", text)
	}
	return d
}

// brief returns 15m in place of 15m0s.
func brief(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "m0s")
	if text != d.String() {
		text += "m"
	}
	return strings.TrimSuffix(text, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(text, "h0m")]
}

// moreThanZero reads a duration above 0.
func (p *parser) moreThanZero(field string) time.Duration {
	d := p.durationOf(field, p.string(field))
	if p.fine(field) && d <= 0 {
		p.fail(field, "is %s, it must be more than 0", brief(d))
	}
	return d
}

// orZero reads a duration, 0 for none.
func (p *parser) orZero(field string) time.Duration {
	d := p.durationOf(field, p.string(field))
	if d < 0 {
		p.fail(field, "is %s, it must not be negative", brief(d))
	}
	return d
}

// int reads a number of at least least.
func (p *parser) int(field string, least int) int {
	n := parse(p, field, p.conf.FieldInt)
	if p.fine(field) && n < least {
		p.fail(field, "is %d, it must be at least %d", n, least)
	}
	return n
}

// share reads a number from 0 to 1.
func (p *parser) share(field string) float64 {
	f := parse(p, field, p.conf.FieldFloat)
	if p.fine(field) && !(f >= 0 && f <= 1) {
		p.fail(field, "is %v, it must be from 0 to 1", f)
	}
	return f
}

// bytes reads a size such as "1MiB" within bounds.
func (p *parser) bytes(field string, least, most uint64) int {
	text := p.string(field)
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		p.fail(field, "is %q, it must be a size such as 1MiB", text)
	case n < least || n > most:
		p.fail(field, "is %s, it must be from %d to %d bytes", text, least, most)
	}
	return int(n)
}

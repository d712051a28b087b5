package deadletters

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// filter chooses letters for which all of its conditions hold. The zero value chooses
// all.
type filter struct {
	Classes []string   `json:"class,omitempty"`
	Topics  []string   `json:"topic,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Reason  string     `json:"reason,omitempty"` // a part of the reason, as summary prints it or as it is
	Where   string     `json:"where,omitempty"`  // a Bloblang mapping with a boolean result

	// MaxAttempts leaves out letters that redrive has sent this often without success,
	// 0 for none.
	MaxAttempts int `json:"max_attempts,omitempty"`

	where *bloblang.Executor
	// failed counts letters for which the mapping fails. They are not chosen.
	failed int64
}

// compile checks the filter, and makes it ready to use.
func (f *filter) compile() (err error) {
	for _, name := range f.Classes {
		if _, err := guard.ParseClass(name); err != nil && name != noClass {
			return fmt.Errorf("--class %s: there is no such class: it takes size_exceeded, invalid_record, unroutable, unknown_topic, unauthorized, refused, or %s for records that are no dead letters of kafka_guarded", name, noClass)
		}
	}
	slices.Sort(f.Classes)
	slices.Sort(f.Topics)
	if f.Where != "" {
		if f.where, err = bloblang.Parse(f.Where); err != nil {
			return fmt.Errorf("--where: it is no Bloblang mapping: %w", err)
		}
	}
	return nil
}

// matches reports whether a letter is chosen.
func (f *filter) matches(l *Letter) bool {
	if len(f.Classes) > 0 && !slices.ContainsFunc(f.Classes, func(c string) bool { return c == string(l.class) || c == noClass && l.class == nil }) {
		return false
	}
	if len(f.Topics) > 0 && !slices.ContainsFunc(f.Topics, func(t string) bool { return t == string(l.topic) }) {
		return false
	}
	if f.Since != nil && l.time().Before(*f.Since) || f.Until != nil && !l.time().Before(*f.Until) {
		return false
	}
	if f.Reason != "" && !strings.Contains(string(l.err), f.Reason) && !strings.Contains(fold(text(l.err), string(l.class), string(l.topic)), f.Reason) {
		return false
	}
	if f.MaxAttempts > 0 && l.attempts >= f.MaxAttempts {
		return false
	}
	if f.where == nil {
		return true
	}
	is, ok := ask(f.where, l.message())
	if !ok {
		f.failed++
	}
	return is
}

// ask returns the boolean that a mapping gives for a message, and false if it gives
// none. QueryValue would be shorter, but it runs
// mappings without this.
func ask(mapping *bloblang.Executor, m *service.Message) (is, ok bool) {
	result, err := service.MessageBatch{m}.BloblangExecutor(mapping).Query(0)
	if err != nil || result == nil {
		return false, false
	}
	v, err := result.AsStructured()
	if err != nil {
		return false, false
	}
	is, ok = v.(bool)
	return is, ok
}

// String is the filter as its flags.
func (f *filter) String() string {
	var parts []string
	for _, c := range f.Classes {
		parts = append(parts, "--class "+c)
	}
	for _, t := range f.Topics {
		parts = append(parts, "--topic "+t)
	}
	if f.Since != nil {
		parts = append(parts, "--since "+f.Since.Format(time.RFC3339))
	}
	if f.Until != nil {
		parts = append(parts, "--until "+f.Until.Format(time.RFC3339))
	}
	if f.Reason != "" {
		parts = append(parts, "--reason '"+f.Reason+"'")
	}
	if f.Where != "" {
		parts = append(parts, "--where '"+f.Where+"'")
	}
	if f.MaxAttempts > 0 {
		parts = append(parts, fmt.Sprintf("--max-attempts %d", f.MaxAttempts))
	}
	if len(parts) == 0 {
		return "all letters"
	}
	return strings.Join(parts, " ")
}

// moment reads a time: RFC 3339, a date, or a duration before now.
func moment(value string, now time.Time) (*time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		t := now.Add(-d).Truncate(time.Second).UTC()
		return &t, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			t = t.UTC()
			return &t, nil
		}
	}
	return nil, fmt.Errorf("it is %q, it must be a time such as 2026-11-30T02:00:00Z or 2026-11-30, or how long ago, such as 2h", value)
}

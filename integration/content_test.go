//go:build linux || darwin

package integration

import (
	"fmt"
	"strconv"
	"testing"
	"time"
)

const (
	invalidRecord = "invalid_record"
	unroutable    = "unroutable"
)

// ages are timestamps for the field timestamp_ms, as of now.
func age(d time.Duration) string { return strconv.FormatInt(time.Now().Add(-d).UnixMilli(), 10) }

// aged gives the message a timestamp that lies that long back.
func (m message) aged(d time.Duration) message {
	m.timestamp = age(d)
	return m
}

// keyless takes the message's key away.
func (m message) keyless() message {
	m.key = nil
	return m
}

func TestRefusedContentIsFoundHoweverMuchThereIsOfIt(t *testing.T) {
	c := oneNode(t)
	const topic = "content"
	timestamps := fields{"timestamp_ms": `${! meta("ts") }`}
	for _, cause := range []struct {
		name       string
		properties map[string]string
		fields     fields
		good, bad  func(message) message
	}{
		{
			name:       "null key",
			properties: map[string]string{"cleanup.policy": "compact"},
			good:       func(m message) message { return m },
			bad:        message.keyless,
		},
		{
			name:   "timestamp too far ahead",
			fields: timestamps,
			good:   func(m message) message { return m.aged(0) },
			bad:    func(m message) message { return m.aged(-2 * time.Hour) },
		},
		{
			name:       "timestamp too old",
			properties: map[string]string{"message.timestamp.before.max.ms": "3600000"},
			fields:     timestamps,
			good:       func(m message) message { return m.aged(10 * time.Minute) },
			bad:        func(m message) message { return m.aged(2 * time.Hour) },
		},
	} {
		for _, much := range []struct {
			name string
			bad  func(i int) bool
		}{
			{"one", func(i int) bool { return i == 7 }},
			{"first and last", func(i int) bool { return i == 0 || i == 29 }},
			{"half", func(i int) bool { return i%2 == 0 }},
			{"all", func(int) bool { return true }},
		} {
			for _, rules := range []bool{true, false} {
				name := fmt.Sprintf("%s/%s/topic rules %t", cause.name, much.name, rules)
				t.Run(name, func(t *testing.T) {
					c := c.With(t)
					c.CreateTopic(topic, 2, 1, cause.properties)
					l := newLedger(t, "content/"+name)
					l.ordered = true
					var batch []message
					for i := range 30 {
						m := good(topic, fmt.Sprintf("m-%03d", i))
						if much.bad(i) {
							batch = append(batch, cause.bad(m).bad(invalidRecord))
						} else {
							batch = append(batch, cause.good(m))
						}
					}
					after := cause.good(good(topic, "after"))
					f := defaults(c).with(cause.fields).with(fields{"topic_rules": fields{"enabled": rules}})
					run(l, f, batch, []message{after})
					l.check(c, topic)
				})
			}
		}
	}
}

func TestAnEmptyKeyIsAKey(t *testing.T) {
	c := oneNode(t)
	c.CreateTopic("content", 1, 1, map[string]string{"cleanup.policy": "compact"})
	l := newLedger(t, "content/empty key")
	empty := good("content", "empty")
	empty.key = new(string)
	run(l, defaults(c), around("content", "a", 4, empty, good("content", "null").keyless().bad(invalidRecord)))
	l.check(c, "content")
}

func TestEachCauseInABatchOfSeveralIsTold(t *testing.T) {
	c := oneNode(t)
	for _, test := range []struct {
		name   string
		fields fields
	}{
		{"fallback", nil},
		{"dead_letter", deadLetters},
		{"without topic rules", fields{"topic_rules": fields{"enabled": false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := c.With(t)
			const topic = "content"
			c.CreateTopic(topic, 2, 1, map[string]string{
				"cleanup.policy":                  "compact",
				"max.message.bytes":               "20000",
				"message.timestamp.before.max.ms": "3600000",
			})
			c.CreateTopic("other", 1, 1, nil)
			l := newLedger(t, "content/several causes/"+test.name)
			l.ordered = true
			var all [][]message
			for b := range 3 {
				all = append(all, severalCauses(topic, "other", fmt.Sprintf("b%d", b)))
			}
			run(l, defaults(c).with(fields{"timestamp_ms": `${! meta("ts") }`}).with(test.fields), all...)
			l.check(c, topic, "other")
		})
	}
}

// Batches of one partition that are under way together share the refusal of one
// of them.
func TestConcurrentBatchesDoNotShareTheBlame(t *testing.T) {
	c := oneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			const topic = "content"
			c.CreateTopic(topic, 2, 1, map[string]string{"cleanup.policy": "compact", "max.message.bytes": "20000"})
			l := newLedger(t, fmt.Sprintf("content/concurrent batches/topic rules %t", rules))
			var all [][]message
			for b := range 100 {
				prefix := fmt.Sprintf("b%02d", b)
				all = append(all, around(topic, prefix, 20,
					good(topic, prefix+"-null").keyless().bad(invalidRecord),
					good(topic, prefix+"-between"),
					good(topic, prefix+"-large").padded(25_000, noise).bad(sizeExceeded)))
			}
			run(l, defaults(c).with(fields{"max_in_flight": 10, "topic_rules": fields{"enabled": rules}}), all...)
			l.check(c, topic)
		})
	}
}

// severalCauses is a batch with every kind of message that a topic with all the
// limits of the test above refuses, among others.
func severalCauses(topic, other, prefix string) []message {
	var batch []message
	for i := range 6 {
		m := func(kind string) message {
			return good(topic, fmt.Sprintf("%s-%d-%s", prefix, i, kind)).aged(0)
		}
		elsewhere := m("elsewhere")
		elsewhere.topic = other
		nowhere := m("nowhere").bad(unroutable)
		nowhere.topic = "no such name"
		batch = append(batch,
			m("first"),
			m("null").keyless().bad(invalidRecord),
			m("large").padded(25_000, noise).bad(sizeExceeded),
			m("ahead").aged(-2*time.Hour).bad(invalidRecord),
			m("huge").padded(1<<20, noise).bad(sizeExceeded),
			m("old").aged(2*time.Hour).bad(invalidRecord),
			elsewhere,
			nowhere,
			m("last"),
		)
	}
	return batch
}

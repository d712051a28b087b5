//go:build linux || darwin

package content

import (
	"fmt"
	"testing"
	"time"

	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

func TestRefusedContentIsFoundHoweverMuchThereIsOfIt(t *testing.T) {
	c := onkafka.OneNode(t)
	const topic = "content"
	timestamps := onkafka.Fields{"timestamp_ms": `${! meta("ts") }`}
	for _, cause := range []struct {
		name       string
		properties map[string]string
		fields     onkafka.Fields
		good, bad  func(onkafka.Message) onkafka.Message
	}{
		{
			name:       "null key",
			properties: map[string]string{"cleanup.policy": "compact"},
			good:       func(m onkafka.Message) onkafka.Message { return m },
			bad:        onkafka.Message.Keyless,
		},
		{
			name:   "timestamp too far ahead",
			fields: timestamps,
			good:   func(m onkafka.Message) onkafka.Message { return m.Aged(0) },
			bad:    func(m onkafka.Message) onkafka.Message { return m.Aged(-2 * time.Hour) },
		},
		{
			name:       "timestamp too old",
			properties: map[string]string{"message.timestamp.before.max.ms": "3600000"},
			fields:     timestamps,
			good:       func(m onkafka.Message) onkafka.Message { return m.Aged(10 * time.Minute) },
			bad:        func(m onkafka.Message) onkafka.Message { return m.Aged(2 * time.Hour) },
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
					l := onkafka.NewChecker(t, "content/"+name)
					l.Ordered = true
					var batch []onkafka.Message
					for i := range 30 {
						m := onkafka.Good(topic, fmt.Sprintf("m-%03d", i))
						if much.bad(i) {
							batch = append(batch, cause.bad(m).Bad(onkafka.InvalidRecord))
						} else {
							batch = append(batch, cause.good(m))
						}
					}
					after := cause.good(onkafka.Good(topic, "after"))
					f := onkafka.Defaults(c).With(cause.fields).With(onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": rules}})
					onkafka.Run(l, f, batch, []onkafka.Message{after})
					l.CheckTopics(c, topic)
				})
			}
		}
	}
}

func TestAnEmptyKeyIsAKey(t *testing.T) {
	c := onkafka.OneNode(t)
	c.CreateTopic("content", 1, 1, map[string]string{"cleanup.policy": "compact"})
	l := onkafka.NewChecker(t, "content/empty key")
	empty := onkafka.Good("content", "empty")
	empty.Key = new(string)
	onkafka.Run(l, onkafka.Defaults(c), onkafka.Around("content", "a", 4, empty, onkafka.Good("content", "null").Keyless().Bad(onkafka.InvalidRecord)))
	l.CheckTopics(c, "content")
}

func TestEachCauseInABatchOfSeveralIsTold(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, test := range []struct {
		name   string
		fields onkafka.Fields
	}{
		{"fallback", nil},
		{"dead_letter", onkafka.DeadLetters},
		{"without topic rules", onkafka.Fields{"topic_rules": onkafka.Fields{"enabled": false}}},
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
			l := onkafka.NewChecker(t, "content/several causes/"+test.name)
			l.Ordered = true
			var all [][]onkafka.Message
			for b := range 3 {
				all = append(all, severalCauses(topic, "other", fmt.Sprintf("b%d", b)))
			}
			onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"timestamp_ms": `${! meta("ts") }`}).With(test.fields), all...)
			l.CheckTopics(c, topic, "other")
		})
	}
}

// Ten writes share the batches of a partition. A rejected batch has records of several
// writes.
func TestConcurrentBatchesDoNotFailEachOthersRecords(t *testing.T) {
	c := onkafka.OneNode(t)
	for _, rules := range []bool{true, false} {
		t.Run(fmt.Sprintf("topic rules %t", rules), func(t *testing.T) {
			c := c.With(t)
			const topic = "content"
			c.CreateTopic(topic, 2, 1, map[string]string{"cleanup.policy": "compact", "max.message.bytes": "20000"})
			l := onkafka.NewChecker(t, fmt.Sprintf("content/concurrent batches/topic rules %t", rules))
			var all [][]onkafka.Message
			for b := range 100 {
				prefix := fmt.Sprintf("b%02d", b)
				all = append(all, onkafka.Around(topic, prefix, 20,
					onkafka.Good(topic, prefix+"-null").Keyless().Bad(onkafka.InvalidRecord),
					onkafka.Good(topic, prefix+"-between"),
					onkafka.Good(topic, prefix+"-large").Padded(25_000, onkafka.Noise).Bad(onkafka.SizeExceeded)))
			}
			onkafka.Run(l, onkafka.Defaults(c).With(onkafka.Fields{"max_in_flight": 10, "topic_rules": onkafka.Fields{"enabled": rules}}), all...)
			l.CheckTopics(c, topic)
		})
	}
}

// severalCauses is a batch with every kind of message that the topic of the test above
// rejects, among good ones.
func severalCauses(topic, other, prefix string) []onkafka.Message {
	var batch []onkafka.Message
	for i := range 6 {
		m := func(kind string) onkafka.Message {
			return onkafka.Good(topic, fmt.Sprintf("%s-%d-%s", prefix, i, kind)).Aged(0)
		}
		elsewhere := m("elsewhere")
		elsewhere.Topic = other
		nowhere := m("nowhere").Bad(onkafka.Unroutable)
		nowhere.Topic = "no such name"
		batch = append(batch,
			m("first"),
			m("null").Keyless().Bad(onkafka.InvalidRecord),
			m("large").Padded(25_000, onkafka.Noise).Bad(onkafka.SizeExceeded),
			m("ahead").Aged(-2*time.Hour).Bad(onkafka.InvalidRecord),
			m("huge").Padded(1<<20, onkafka.Noise).Bad(onkafka.SizeExceeded),
			m("old").Aged(2*time.Hour).Bad(onkafka.InvalidRecord),
			elsewhere,
			nowhere,
			m("last"),
		)
	}
	return batch
}

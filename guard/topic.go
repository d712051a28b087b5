package guard

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// checkTopic sets a record's topic, and returns a failure if it is not legal. legal is
// a topic that is known to be.
func (g *Guard) checkTopic(r *kgo.Record, legal string) *Failure {
	if r == nil {
		return &Failure{Class: InvalidRecord, Partition: -1, Problem: "the record is nil"}
	}
	if r.Topic == "" || g.settings.defaultTopicAlways {
		r.Topic = g.settings.defaultTopic
	}
	if (r.Topic != legal || legal == "") && CheckTopic(r.Topic) != nil {
		return &Failure{Class: Unroutable, Topic: r.Topic, Partition: -1, Problem: CheckTopic(r.Topic).Error()}
	}
	return nil
}

// maxTopicLength is the longest topic name that Kafka takes.
const maxTopicLength = 249

// CheckTopic returns nil for a name that Kafka takes: 1 to 249 of the characters
// a-z, A-Z, 0-9, '.', '_' and '-', but not "." or "..". The error of any other
// says what is wrong with it, and never quotes it: it may be part of a message.
func CheckTopic(name string) error {
	const takes = "illegal topic name: Kafka takes letters, digits, '.', '_' and '-', but not '.' or '..' alone"
	switch {
	case name == "":
		return errors.New("the topic name is empty")
	case len(name) > maxTopicLength:
		return fmt.Errorf("illegal topic name: %d characters, Kafka takes at most %d", len(name), maxTopicLength)
	case name == "." || name == "..":
		return errors.New(takes)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%s: of its %d characters, number %d is none of these", takes, len(name), i+1)
		}
	}
	return nil
}

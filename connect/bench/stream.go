//go:build linux || darwin

package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	_ "github.com/redpanda-data/connect/v4/public/components/kafka"

	_ "github.com/kafka-guarded/kafka-guarded/output"
)

// object is a YAML mapping, written as JSON.
type object = map[string]any

// config is a stream that sends count messages to the output.
func (j job) config(count int) (string, error) {
	b, err := json.Marshal(object{
		"http":    object{"enabled": false},
		"metrics": object{"none": object{}},
		"input": object{"generate": object{
			"interval":   "",
			"count":      count,
			"batch_size": j.Load.Batch,
			"mapping":    j.Load.mapping(),
		}},
		"output": j.output(),
	})
	return string(b), err
}

// firstKey makes all keys equally long. Its message is bad if the load has bad ones.
const firstKey = 10_000_000

// mapping makes the messages, with as little CPU as possible.
func (l load) mapping() string {
	const id = "counter(min: %d)"
	text := l.text()
	if l.Topics == 1 && l.Texts == 1 && l.PoisonEvery == 0 {
		return fmt.Sprintf("meta key = "+id+"\nroot = %q\n", firstKey, text)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "let id = "+id+"\n", firstKey)
	every := l.PoisonEvery
	if every == never {
		every = firstKey + 2*maxCount // no key is a multiple of it
	}
	key := "$id"
	if l.NoKeys {
		key = fmt.Sprintf("if $id %% %d == 0 { deleted() } else { $id }", every)
	}
	fmt.Fprintf(&b, "meta key = %s\n", key)
	if l.Topics > 1 {
		fmt.Fprintf(&b, "meta topic = $id %% %d\n", l.Topics)
	}
	root := fmt.Sprintf("%q", text)
	if l.Texts > 1 {
		fmt.Fprintf(&b, "let start = $id %% %d * %d\n", l.Texts, l.Size)
		root += fmt.Sprintf(".slice($start, $start + %d)", l.Size)
	}
	if l.PoisonEvery != 0 && !l.NoKeys {
		root = fmt.Sprintf("if $id %% %d == 0 { %q } else { %s }", every, l.poisonText(), root)
	}
	fmt.Fprintf(&b, "root = %s\n", root)
	return b.String()
}

// text has the contents of all different messages, one after the other.
func (l load) text() string { return someText(l.Texts * l.Size) }

// someText is like JSON: it compresses, but not to nothing.
func someText(size int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		fmt.Fprintf(&b, `{"order":%d,"customer":"customer-%d","paid":%t},`, random.Uint32(), random.IntN(1000), random.IntN(2) == 0)
	}
	return b.String()[:size]
}

// poisonText is the text of a message that is too large.
func (l load) poisonText() string {
	if l.RandomBytes == 0 {
		return someText(poisonSize)
	}
	random := make([]byte, l.RandomBytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	return base64.StdEncoding.EncodeToString(random)[:l.RandomBytes]
}

// poison is how many of count messages are bad. The first one is.
func (l load) poison(count int) int {
	if l.PoisonEvery <= 0 {
		return 0
	}
	return (count + l.PoisonEvery - 1) / l.PoisonEvery
}

// topics are the names of the topics, with a prefix.
func (l load) topics(prefix string) []string {
	topics := make([]string, l.Topics)
	for i := range topics {
		topics[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return topics
}

// output is the output of the stream.
func (j job) output() object {
	topic := j.Topic + "-0"
	if j.Load.Topics > 1 {
		topic = j.Topic + "-${! @topic }"
	}
	const key = "${! @key }"
	nowhere := object{"drop": object{}}
	franzBody := object{
		"seed_brokers":  j.Brokers,
		"topic":         topic,
		"key":           key,
		"max_in_flight": j.Load.InFlight,
		"compression":   j.Load.Compression,
	}
	output := object{j.Runner: franzBody}
	switch j.Runner {
	case drop:
		return nowhere
	case sarama:
		return object{sarama: object{
			"addresses":     j.Brokers,
			"topic":         topic,
			"key":           key,
			"partitioner":   "murmur2_hash",
			"compression":   j.Load.Compression,
			"ack_replicas":  true,
			"metadata":      object{"exclude_prefixes": []string{""}},
			"max_in_flight": j.Load.InFlight,
		}}
	case guarded:
		if j.Load.PoisonEvery > 0 {
			franzBody["dead_letter"] = nowhere
		}
		if j.Load.NoKeys {
			franzBody["null_key"] = "@key == null"
		}
		if j.Load.OwnLimit > 0 {
			franzBody["max_message_bytes"] = j.Load.OwnLimit
		}
		if j.Load.IgnoreRules {
			franzBody["topic_rules"] = object{"enabled": false}
		}
	case franz:
		// kafka_franz would send a rejected batch again without end.
		if j.Load.TopicLimit > 0 {
			return object{"fallback": []object{output, nowhere}}
		}
	}
	return output
}

// build makes the stream, after linting its config.
func build(env *service.Environment, config string) (*service.Stream, error) {
	b := env.NewStreamBuilder()
	b.SetLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err := b.SetYAML(config); err != nil {
		return nil, fmt.Errorf("linting the stream: %w", err)
	}
	return b.Build()
}

// stream sends count messages through a stream.
func (j job) stream(ctx context.Context, count int) error {
	config, err := j.config(count)
	if err != nil {
		return fmt.Errorf("writing the config: %w", err)
	}
	s, err := build(service.GlobalEnvironment(), config)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

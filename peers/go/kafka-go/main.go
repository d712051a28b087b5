// The peer kafka-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

func main() {
	brokers, topic, file := os.Args[1], os.Args[2], os.Args[3]
	w := &kafka.Writer{Addr: kafka.TCP(brokers), Topic: topic, BatchTimeout: 500 * time.Millisecond, RequiredAcks: kafka.RequireAll}
	lines, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	var all []kafka.Message
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\n"), "\n") {
		key, value, _ := strings.Cut(line, "\t")
		m := kafka.Message{Value: []byte(value)}
		if key != "" {
			m.Key = []byte(key)
		}
		all = append(all, m)
	}
	write(w, all)
	write(w, []kafka.Message{{Key: []byte("next"), Value: []byte("next.")}})
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
}

func write(w *kafka.Writer, all []kafka.Message) {
	err := w.WriteMessages(context.Background(), all...)
	var each kafka.WriteErrors
	errors.As(err, &each)
	for i, m := range all {
		name, _, _ := strings.Cut(string(m.Value), ".")
		switch {
		case each != nil && each[i] != nil:
			fmt.Printf("%s\t%v\n", name, each[i])
		case each == nil && err != nil:
			fmt.Printf("%s\t%v\n", name, err)
		default:
			fmt.Printf("%s\tok\n", name)
		}
	}
}

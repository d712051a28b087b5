// The peer franz-go.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers, topic, file := os.Args[1], os.Args[2], os.Args[3]
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(500*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	lines, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(lines), "\n"), "\n") {
		key, value, _ := strings.Cut(line, "\t")
		r := &kgo.Record{Value: []byte(value)}
		if key != "" {
			r.Key = []byte(key)
		}
		produce(client, r)
	}
	flush(client)
	produce(client, &kgo.Record{Key: []byte("next"), Value: []byte("next.")})
	flush(client)
}

func produce(client *kgo.Client, r *kgo.Record) {
	client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		name, _, _ := strings.Cut(string(r.Value), ".")
		if err == nil {
			fmt.Printf("%s\tok\n", name)
			return
		}
		fmt.Printf("%s\t%v\n", name, err)
	})
}

func flush(client *kgo.Client) {
	if err := client.Flush(context.Background()); err != nil {
		log.Fatal(err)
	}
}

package guard_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// broker starts a broker in this process, with a topic that takes batches of up to
// 1000 bytes.
func broker() (address string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		log.Fatal(err)
	}
	if err := cluster.CreateTopic("orders", 1, map[string]string{"max.message.bytes": "1000"}); err != nil {
		log.Fatal(err)
	}
	return cluster.ListenAddrs()[0], cluster.Close
}

func ExampleGuard_Write() {
	address, stop := broker()
	defer stop()
	ctx := context.Background()
	records := []*kgo.Record{
		{Topic: "orders", Value: []byte("one")},
		{Topic: "orders", Value: noise()},
		{Topic: "orders", Value: []byte("three")},
	}

	g, err := guard.New(guard.Config{}, kgo.SeedBrokers(address))
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	for i, v := range g.Write(ctx, records) {
		if v.Outcome != guard.Delivered {
			fmt.Printf("record %d: %v\n", i, v.Err())
		}
	}
	// Output:
	// record 1: size_exceeded: topic orders partition 0: 5070 bytes exceed the topic's max.message.bytes (1000)
}

// The error of a verdict is a *guard.Failure, which says what decided.
func ExampleFailure() {
	address, stop := broker()
	defer stop()
	g, err := guard.New(guard.Config{}, kgo.SeedBrokers(address))
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	verdicts := g.Write(context.Background(), []*kgo.Record{
		{Topic: "orders", Value: noise()},
		{Topic: "or ders", Value: []byte("two")},
	})
	for _, v := range verdicts {
		var f *guard.Failure
		switch errors.As(v.Err(), &f); f.Class {
		case guard.SizeExceeded:
			fmt.Println("too large by", f.Bytes-f.Limit, "bytes for", f.Topic)
		case guard.Unroutable:
			fmt.Println("it has nowhere to go")
		}
	}
	// Output:
	// too large by 4070 bytes for orders
	// it has nowhere to go
}

// What to do about a record goes by the outcome, and why it failed by the class.
func ExampleVerdict() {
	address, stop := broker()
	defer stop()
	ctx := context.Background()
	g, err := guard.New(guard.Config{}, kgo.SeedBrokers(address))
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	records := []*kgo.Record{{Topic: "orders", Value: []byte("one")}, {Topic: "orders", Value: noise()}}

	for i, v := range g.Write(ctx, records) {
		switch v.Outcome {
		case guard.Delivered:
			fmt.Println("done:", i)
		case guard.NotWritten: // provably: v.Class says why, records[i] is the one
			fmt.Println(v.Class, "for good:", v.Class.Permanent())
		case guard.Unknown: // it may be in the log: to send it again may duplicate it
			fmt.Println("in doubt:", v.Err())
		}
	}
	// Output:
	// done: 0
	// size_exceeded for good: true
}

// noise is what does not compress.
func noise() []byte {
	b := make([]byte, 5000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

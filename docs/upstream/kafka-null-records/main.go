// Command kafka-null-records sends produce requests without records to a topic,
// "t" by default, and waits for answers.
//
//	go run . localhost:9092 [topic]
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("which broker?")
	}
	topic := "t"
	if len(os.Args) > 2 {
		topic = os.Args[2]
	}
	if err := run(context.Background(), os.Args[1], topic); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, broker, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RequestTimeoutOverhead(5*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	details, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return fmt.Errorf("describing topic %s: %w", topic, err)
	}
	for name, records := range map[string][]byte{"empty records": {}, "null records": nil} {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = records
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID = topic, details[topic].ID
		t.Partitions = append(t.Partitions, p)
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 1000
		req.Topics = append(req.Topics, t)
		began := time.Now()
		resp, err := client.Broker(int(details[topic].Partitions[0].Leader)).Request(ctx, req)
		if err != nil {
			fmt.Printf("%s: no answer in %s: %v\n", name, time.Since(began).Round(time.Second), err)
			continue
		}
		code := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
		fmt.Printf("%s: the answer is %v\n", name, kerr.ErrorForCode(code))
	}
	return nil
}

// Command franz-go-null-records shows that kgo sends produce requests with null
// records for partitions whose batches were failed in between.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const limit = 100_000 // of the topic, in bytes; the client does not know it

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, "t"))
	if err != nil {
		return err
	}
	defer cluster.Close()
	var requests, withNull, partitions, null atomic.Int64
	cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		requests.Add(1)
		before := null.Load()
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				partitions.Add(1)
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				switch {
				case p.Records == nil:
					null.Add(1)
					rp.ErrorCode = kerr.InvalidRecord.Code // Apache Kafka answers nothing
				case len(p.Records) > limit:
					rp.ErrorCode = kerr.MessageTooLarge.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		if null.Load() > before {
			withNull.Add(1)
		}
		return resp, nil, true
	})

	client, err := kgo.NewClient(
		kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.DefaultProduceTopic("t"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(2*limit),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	// Small batches are accepted, and then kgo has several requests in flight
	// per partition. Large ones are refused.
	for range 20 {
		var small, large []*kgo.Record
		for p := range int32(6) {
			small = append(small, &kgo.Record{Partition: p, Value: noise[:10]})
			for i := range 1000 {
				large = append(large, &kgo.Record{Partition: p, Value: noise[i*1000:][:1000]})
			}
		}
		if err := client.ProduceSync(context.Background(), small...).FirstErr(); err != nil {
			return fmt.Errorf("producing small records: %w", err)
		}
		for _, r := range client.ProduceSync(context.Background(), large...) {
			if r.Err != nil && !errors.Is(r.Err, kerr.MessageTooLarge) && !errors.Is(r.Err, kerr.InvalidRecord) {
				return fmt.Errorf("producing large records: %w", r.Err)
			}
		}
	}
	fmt.Printf("%d of %d produce requests had null records, for %d of %d partitions\n",
		withNull.Load(), requests.Load(), null.Load(), partitions.Load())
	return nil
}

//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// writer writes a batch of records, and returns when all are acked.
type writer func(context.Context, []*kgo.Record) error

// writers are the runners without a stream.
var writers = map[string]func(job) (write writer, end func(), err error){
	asFranz:     newAsFranz,
	produceSync: newProduceSync,
	guardWrite:  newGuardWrite,
}

// loop sends count messages without an engine. As many writers as there are batches in
// flight make records like those of the stream, and write them.
func (j job) loop(ctx context.Context, count int) error {
	write, end, err := writers[j.Runner](j)
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	defer end()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	topics := j.Load.topics(j.Topic)
	values := slices.Collect(slices.Chunk([]byte(j.Load.text()), j.Load.Size))
	var next atomic.Int64
	var writing sync.WaitGroup
	for range j.Load.InFlight {
		writing.Go(func() {
			for ctx.Err() == nil {
				end := int(next.Add(int64(j.Load.Batch)))
				start := end - j.Load.Batch
				if start >= count {
					return
				}
				if err := write(ctx, j.batch(start, min(end, count), topics, values)); err != nil {
					cancel(err)
				}
			}
		})
	}
	writing.Wait()
	return context.Cause(ctx)
}

// batch makes the records from number from to number to. Each has a value of its own,
// as in a stream, unless the load says SharedValues.
func (j job) batch(from, to int, topics []string, values [][]byte) []*kgo.Record {
	made := make([]kgo.Record, to-from)
	records := make([]*kgo.Record, to-from)
	for i := range made {
		id := firstKey + from + i
		value := values[id%len(values)]
		if !j.Load.SharedValues {
			value = bytes.Clone(value)
		}
		made[i] = kgo.Record{
			Topic: topics[id%len(topics)],
			Key:   strconv.AppendInt(nil, int64(id), 10),
			Value: value,
		}
		records[i] = &made[i]
	}
	return records
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(),
	"lz4":  kgo.Lz4Compression(),
	"zstd": kgo.ZstdCompression(),
}

// options are the options that kafka_franz gives to kgo by default.
func (j job) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.SeedBrokers(j.Brokers...),
		kgo.ProducerBatchMaxBytes(1 << 20),
		kgo.BrokerMaxWriteBytes(100 << 20),
		kgo.ProduceRequestTimeout(10 * time.Second),
		kgo.MaxBufferedRecords(10_000),
		kgo.MaxProduceRequestsInflightPerBroker(1),
		kgo.ProducerBatchCompression(codecs[j.Load.Compression]),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if j.Load.NoLinger {
		opts = append(opts, kgo.ProducerLinger(0))
	}
	if j.metadata != nil {
		opts = append(opts, kgo.WithHooks(j.metadata))
	}
	return opts
}

// newAsFranz produces like kafka_franz: record by record, with kgo's default linger.
func newAsFranz(j job) (writer, func(), error) {
	client, err := kgo.NewClient(j.options()...)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, records []*kgo.Record) error {
		var errs []error // promises are called one at a time
		var open sync.WaitGroup
		open.Add(len(records))
		for _, r := range records {
			client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					errs = append(errs, err)
				}
				open.Done()
			})
		}
		open.Wait()
		return errors.Join(errs...)
	}, client.Close, nil
}

// newProduceSync produces a batch at a time, without linger.
func newProduceSync(j job) (writer, func(), error) {
	client, err := kgo.NewClient(j.options()...)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, records []*kgo.Record) error {
		return client.ProduceSync(ctx, records...).FirstErr()
	}, client.Close, nil
}

// maxBufferedBytes is `max_buffered_bytes: 256MB`.
const maxBufferedBytes = 256_000_000

// newGuardWrite writes with guard, the part of kafka_guarded below the output.
func newGuardWrite(j job) (writer, func(), error) {
	g, err := guard.New(guard.Config{IgnoreRules: j.Load.IgnoreRules}, append(j.options(), kgo.MaxBufferedBytes(maxBufferedBytes))...)
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, records []*kgo.Record) error {
		for _, v := range g.Write(ctx, records) {
			if v.Outcome != guard.Delivered {
				return v.Err()
			}
		}
		return nil
	}, g.Close, nil
}

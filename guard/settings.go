package guard

import (
	"bytes"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/producer"
)

// settings are the caller's kgo options that guard uses.
type settings struct {
	idempotent         bool
	defaultTopic       string
	defaultTopicAlways bool
	partitioner        kgo.Partitioner
	maxBufferedRecords int
	maxBufferedBytes   int // 0: no limit
	maxRequestBytes    int
	answers            bool // acks is not none
	acks               kgo.Acks
	compressor         kgo.Compressor // nil: none
	codec              string         // its name in compression.type
	timeout            time.Duration
	autoCreate         bool
	inFlight           int
	minAge, maxAge     time.Duration // of metadata
	recordRetries      int64
	deliveryTimeout    time.Duration // 0: none
	unknownTopicTries  int64         // -1: without end
	backoff            func(failures int) time.Duration
	hooks              []kgo.Hook
}

// readSettings reads the options from a client that never connects.
func readSettings(opts []kgo.Opt) (settings, error) {
	probe, err := kgo.NewClient(opts...)
	if err != nil {
		return settings{}, err
	}
	defer probe.Close()
	if probe.OptValue(kgo.TransactionalID) != "" {
		return settings{}, errors.New("a transactional ID is set: guard does not write in transactions")
	}
	if probe.OptValue(kgo.ManualFlushing) == true {
		return settings{}, errors.New("manual flushing is set: guard flushes by itself")
	}
	s := settings{
		idempotent:         probe.OptValue(kgo.DisableIdempotentWrite) == false,
		defaultTopic:       probe.OptValue(kgo.DefaultProduceTopic).(string),
		defaultTopicAlways: probe.OptValue(kgo.DefaultProduceTopicAlways) == true,
		partitioner:        probe.OptValue(kgo.RecordPartitioner).(kgo.Partitioner),
		maxBufferedRecords: int(probe.OptValue(kgo.MaxBufferedRecords).(int64)),
		maxBufferedBytes:   int(probe.OptValue(kgo.MaxBufferedBytes).(int64)),
		maxRequestBytes:    int(probe.OptValue(kgo.BrokerMaxWriteBytes).(int32)),
		answers:            probe.OptValue(kgo.RequiredAcks) != kgo.NoAck(),
	}
	s.compressor, _ = probe.OptValue(kgo.WithCompressor).(kgo.Compressor)
	s.codec = codecOf(s.compressor)
	s.acks, _ = probe.OptValue(kgo.RequiredAcks).(kgo.Acks)
	s.timeout, _ = probe.OptValue(kgo.ProduceRequestTimeout).(time.Duration)
	s.autoCreate, _ = probe.OptValue(kgo.AllowAutoTopicCreation).(bool)
	s.inFlight, _ = probe.OptValue(kgo.MaxProduceRequestsInflightPerBroker).(int)
	s.minAge, _ = probe.OptValue(kgo.MetadataMinAge).(time.Duration)
	s.maxAge, _ = probe.OptValue(kgo.MetadataMaxAge).(time.Duration)
	s.recordRetries, _ = probe.OptValue(kgo.RecordRetries).(int64)
	s.deliveryTimeout, _ = probe.OptValue(kgo.RecordDeliveryTimeout).(time.Duration)
	s.unknownTopicTries, _ = probe.OptValue(kgo.UnknownTopicRetries).(int64)
	s.backoff, _ = probe.OptValue(kgo.RetryBackoffFn).(func(int) time.Duration)
	s.hooks, _ = probe.OptValue(kgo.WithHooks).([]kgo.Hook)
	return s, nil
}

// requestsInFlight is how many produce requests to a broker may be unanswered with
// idempotence.
const requestsInFlight = 5

// producer returns the producer's config.
func (s *settings) producer(g *Guard) producer.Config {
	c := producer.Config{
		Client: g.client, Acks: -1, Timeout: s.timeout, Idempotent: s.idempotent, Compressor: s.compressor, Partitioner: s.partitioner,
		AutoCreate: s.autoCreate, MaxRequest: s.maxRequestBytes, InFlight: requestsInFlight,
		MetadataMinAge: min(s.minAge, 100*time.Millisecond), MetadataMaxAge: s.maxAge,
		MaxBatch: g.limits.MaxBatch, Backoff: s.backoff, Policy: (*policy)(g), Hooks: s.hooks,
	}
	if !s.idempotent {
		c.InFlight = s.inFlight
	}
	switch s.acks {
	case kgo.NoAck():
		c.Acks, c.InFlight = 0, 1
	case kgo.LeaderAck():
		c.Acks = 1
	}
	return c
}

// codecOf returns the name of a compressor's codec. It looks at the output for an input
// that every codec makes smaller.
func codecOf(c kgo.Compressor) string {
	if c == nil {
		return "uncompressed"
	}
	var dst bytes.Buffer
	_, codec := c.Compress(&dst, make([]byte, 4096))
	switch codec {
	case kgo.CodecGzip:
		return "gzip"
	case kgo.CodecSnappy:
		return "snappy"
	case kgo.CodecLz4:
		return "lz4"
	case kgo.CodecZstd:
		return "zstd"
	default:
		return "uncompressed"
	}
}

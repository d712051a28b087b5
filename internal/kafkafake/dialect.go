package kafkafake

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Dialect is how a broker, or what stands in front of one, differs from others
// in what it refuses and how it says so. Its zero value is Apache Kafka of
// today.
type Dialect struct {
	Name string

	// Versions are the newest versions of requests that it speaks, nil for all
	// that kfake does.
	Versions *kversion.Versions

	// Listing says which records an answer names (KIP-467). An answer to produce
	// before v8 has no room for it.
	Listing Listing

	// WholeRequest has a refused record take along all partitions of its
	// request, and not just its batch.
	WholeRequest bool

	// Content has values refused that hold the Mark, as a schema check refuses
	// them: INVALID_RECORD.
	Content bool

	// LastDecides has the last record of a batch decide about the content of
	// all, which is what Redpanda's schema check does.
	LastDecides bool

	// NullKeys are taken on a compacted topic.
	NullKeys bool

	// AnyTimestamp is taken.
	AnyTimestamp bool

	// NeverRecompresses has batches stored as they are sent, whatever the
	// topic's compression.type is.
	NeverRecompresses bool

	// NullRecords is the answer to a partition of a produce request without
	// records. Kafka gives none at all, and the connection stays mute.
	NullRecords *kerr.Error

	// MaxRequest is the largest request in bytes, 0 for any. Over it the
	// connection is closed without an answer (socket.request.max.bytes).
	MaxRequest int

	// Codecs are the compressions that are taken, nil for all. Others are
	// refused with UNSUPPORTED_FOR_MESSAGE_FORMAT.
	Codecs []kgo.CompressionCodecType

	// Configs says how DescribeConfigs is answered, ExtraConfigs what is told
	// of each topic besides.
	Configs      Configs
	ExtraConfigs map[string]string

	// Limits are the brokers' own message.max.bytes, by node, for topics that
	// have no max.message.bytes. Nil is 1048588 for all.
	Limits []int

	// Ages are the brokers' own log.message.timestamp.before.max.ms, by node, for topics
	// that have none. Nil is any for all.
	Ages []time.Duration

	// ClockAhead is by how much the brokers' clocks are ahead of ours, and Clocks by how
	// much more each broker's is, by node. Nil is not at all.
	ClockAhead time.Duration
	Clocks     []time.Duration

	// ProducerExpiry is after how long an idle producer is forgotten
	// (producer.id.expiration.ms), 0 for never.
	ProducerExpiry time.Duration

	// Numbering says how sequence numbers are looked at. RaisedEpochs is the
	// answer to an epoch that is higher than the one which InitProducerID gave,
	// nil where it is taken.
	Numbering    Numbering
	RaisedEpochs *kerr.Error

	// FirstFromZero has a partition that was never written take only 0 as the
	// first sequence number of a producer.
	FirstFromZero bool

	// AnySize is taken, up to MaxRequest.
	AnySize bool

	// Grows is by how many bytes each record grows before its batch is
	// measured. It is encrypted then: a batch that came compressed is measured
	// by its records as they were before.
	Grows int

	// MaxDecompressed is the brokers' own max.decompressed.message.bytes, 0 for
	// Kafka's default. The topic's own counts in any dialect.
	MaxDecompressed int

	// SharedEpochs keeps one epoch per producer, as kfake does. Kafka keeps one
	// per producer and partition.
	SharedEpochs bool
}

// Listing is which failed records of a batch an answer lists.
type Listing uint8

const (
	// ListsAll is what Apache Kafka 2.5 and newer do.
	ListsAll Listing = iota
	// ListsFirst is what Apache Kafka 2.4 does.
	ListsFirst
	// ListsNone gives the code alone.
	ListsNone
	// ListsFromOne counts from one, and so lists the record after the failed one.
	ListsFromOne
)

// Configs says how DescribeConfigs is answered.
type Configs uint8

const (
	// Told is the truth.
	Told Configs = iota
	// Denied is TOPIC_AUTHORIZATION_FAILED for each topic.
	Denied
	// Silent is no answer at all.
	Silent
	// OfAnother is what another topic has: compacted, and a limit of 600 bytes.
	OfAnother
	// OfNone is UNKNOWN_TOPIC_OR_PARTITION for each topic.
	OfNone
)

// Dialects returns all dialects that differ in how they check a batch.
func Dialects() []Dialect {
	return []Dialect{Kafka(), Kafka24(), Registry(), Redpanda(), RedpandaOfOld(), Gateway(), BlurringGateway(), EventHubs(), Unreadable(), Hanging(), Uneven(), SmallSockets(), Miscounting()}
}

// Kafka is Apache Kafka 2.5 and newer.
func Kafka() Dialect { return Dialect{Name: "kafka"} }

// Kafka24 is Apache Kafka 2.4, which names the first bad record alone.
func Kafka24() Dialect {
	return Dialect{Name: "kafka24", Versions: kversion.V2_4_0(), Listing: ListsFirst}
}

// Registry is Kafka with a schema check on the broker: it lists the records that fail it.
func Registry() Dialect { return Dialect{Name: "registry", Content: true} }

// Redpanda is Redpanda 25.3 and newer, with its schema check.
func Redpanda() Dialect {
	return Dialect{
		Name: "redpanda", Versions: producingAtMost(7), Listing: ListsNone,
		Content: true, LastDecides: true, NullKeys: true, NeverRecompresses: true,
		NullRecords:  kerr.InvalidRecord,
		ExtraConfigs: map[string]string{"redpanda.remote.read": "false", "redpanda.value.schema.id.validation": "true"},
	}
}

// RedpandaOfOld is Redpanda before 25.3: it takes any timestamp.
func RedpandaOfOld() Dialect {
	d := Redpanda()
	d.Name, d.AnyTimestamp = "redpanda_of_old", true
	return d
}

// Gateway refuses a whole request for a record that fails its check, and names
// that record, as Kroxylicious 0.12.0 does. It tells 0 as base offset.
func Gateway() Dialect { return Dialect{Name: "gateway", Content: true, WholeRequest: true} }

// BlurringGateway refuses a whole request for a record that fails its check, and
// names none: all partitions bear INVALID_RECORD.
func BlurringGateway() Dialect {
	return Dialect{Name: "blurring_gateway", Content: true, WholeRequest: true, Listing: ListsNone}
}

// EventHubs is Azure Event Hubs: a request over 1,046,528 bytes has the
// connection closed, and the only compression is gzip.
func EventHubs() Dialect {
	return Dialect{
		Name: "event_hubs", Versions: producingAtMost(7), Listing: ListsNone, NullKeys: true, AnyTimestamp: true, NeverRecompresses: true,
		NullRecords: kerr.InvalidRecord,
		MaxRequest:  1_046_528, Codecs: []kgo.CompressionCodecType{kgo.CodecNone, kgo.CodecGzip},
		Configs: Denied,
	}
}

// Unreadable is Kafka whose topics' configs the producer has no right to read.
func Unreadable() Dialect { return Dialect{Name: "unreadable", Configs: Denied} }

// Hanging is Kafka that never answers DescribeConfigs.
func Hanging() Dialect { return Dialect{Name: "hanging", Configs: Silent} }

// Uneven is Kafka whose brokers have different limits of sizes and ages for topics
// without their own.
func Uneven() Dialect {
	return Dialect{Name: "uneven", Limits: []int{50_000, 20_000, 100_000}, Ages: []time.Duration{time.Hour, 90 * time.Minute, 3 * time.Hour}}
}

// SmallSockets is Kafka with a socket.request.max.bytes that is less than a batch
// may have.
func SmallSockets() Dialect { return Dialect{Name: "small_sockets", MaxRequest: 200_000} }

// Miscounting is Kafka behind a proxy with a check of its own, which counts the
// records that it names from one.
func Miscounting() Dialect {
	return Dialect{Name: "miscounting", Content: true, Listing: ListsFromOne, Configs: Denied}
}

// producingAtMost is what kfake speaks, with produce up to the version.
func producingAtMost(version int16) *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(0, version)
	return v
}

// Clock returns by how much a broker's clock is ahead of ours.
func (d *Dialect) Clock(node int32) time.Duration {
	if len(d.Clocks) == 0 {
		return d.ClockAhead
	}
	return d.ClockAhead + d.Clocks[int(node)%len(d.Clocks)]
}

// age returns a node's log.message.timestamp.before.max.ms.
func (d *Dialect) age(node int32) int64 {
	if int(node) < len(d.Ages) {
		return d.Ages[node].Milliseconds()
	}
	return forever
}

// limit returns a node's message.max.bytes.
func (d *Dialect) limit(node int32) int {
	if int(node) < len(d.Limits) {
		return d.Limits[node]
	}
	return 1_048_588
}

// forever is a time bound that bounds nothing.
const forever = math.MaxInt64

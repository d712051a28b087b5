package kafkafake

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Dialect describes how a broker, or a gateway in front of one, differs from others:
// what it rejects, and how. The zero value is Apache Kafka of today.
type Dialect struct {
	Name string

	// Versions are the newest versions of requests that it understands, nil for all
	// versions of kfake.
	Versions *kversion.Versions

	// Listing says which records an answer lists (KIP-467). Answers to produce before
	// v8 can't list any.
	Listing Listing

	// WholeRequest rejects all partitions of a request for one bad record, and not just
	// its batch.
	WholeRequest bool

	// Content rejects values that have the Mark in them, as a schema check does, with
	// INVALID_RECORD.
	Content bool

	// LastDecides checks the content of the last record of a batch only, as Redpanda's
	// schema check does.
	LastDecides bool

	// NullKeys accepts null keys on a compacted topic.
	NullKeys bool

	// AnyTimestamp accepts any timestamp.
	AnyTimestamp bool

	// NeverRecompresses stores batches as they are sent, whatever the topic's
	// compression.type is.
	NeverRecompresses bool

	// NullRecords is the answer for a partition of a produce request without records.
	// Kafka never answers such a request.
	NullRecords *kerr.Error

	// MaxRequest is the largest request in bytes, 0 for no limit. The broker closes the
	// connection on a larger one without an answer (socket.request.max.bytes).
	MaxRequest int

	// Codecs are the accepted codecs, nil for all. Others are rejected with
	// UNSUPPORTED_FOR_MESSAGE_FORMAT.
	Codecs []kgo.CompressionCodecType

	// Configs says how DescribeConfigs is answered. ExtraConfigs are reported for each
	// topic, too.
	Configs      Configs
	ExtraConfigs map[string]string

	// Limits are the brokers' own message.max.bytes, by node, for topics that
	// have no max.message.bytes. Nil is 1048588 for all.
	Limits []int

	// Ages are the brokers' own log.message.timestamp.before.max.ms, by node, for
	// topics without that config. Nil is no bound.
	Ages []time.Duration

	// ClockAhead is by how much the brokers' clocks are ahead of the test's. Clocks
	// adds to it for each broker, by node.
	ClockAhead time.Duration
	Clocks     []time.Duration

	// ProducerExpiry is the time after which an idle producer is forgotten
	// (producer.id.expiration.ms), 0 for never.
	ProducerExpiry time.Duration

	// Session is how long a SASL session lasts (connections.max.reauth.ms): clients have
	// to authenticate, and again within it. 0 takes clients without credentials.
	Session time.Duration

	// Numbering says how sequence numbers are checked. RaisedEpochs is the answer to an
	// epoch that is higher than the one of InitProducerID, nil if it is accepted.
	Numbering    Numbering
	RaisedEpochs *kerr.Error

	// FirstFromZero accepts only 0 as a producer's first sequence number in a partition
	// that was never written to.
	FirstFromZero bool

	// AnySize accepts any size up to MaxRequest.
	AnySize bool

	// Grows is the number of bytes that encryption adds to each record before its batch
	// is measured. A compressed batch is measured by its decompressed records, since
	// the gateway does not compress again.
	Grows int

	// MaxDecompressed is the brokers' own max.decompressed.message.bytes, 0 for Kafka's
	// default. A topic's own value counts in any dialect.
	MaxDecompressed int

	// SharedEpochs keeps one epoch per producer, as kfake does. Kafka keeps one
	// per producer and partition.
	SharedEpochs bool
}

// Listing says which failed records of a batch an answer lists.
type Listing uint8

const (
	// ListsAll lists all, as Apache Kafka 2.5 and newer do.
	ListsAll Listing = iota
	// ListsFirst lists the first one, as Apache Kafka 2.4 does.
	ListsFirst
	// ListsNone lists none: the answer has the code only.
	ListsNone
	// ListsFromOne counts records from one, and so lists the one after the failed one.
	ListsFromOne
)

// Configs says how DescribeConfigs is answered.
type Configs uint8

const (
	// Told reports the topic's configs.
	Told Configs = iota
	// Denied answers TOPIC_AUTHORIZATION_FAILED for each topic.
	Denied
	// Silent never answers.
	Silent
	// OfAnother reports the configs of another topic: compacted, and a limit of 600
	// bytes.
	OfAnother
	// OfNone answers UNKNOWN_TOPIC_OR_PARTITION for each topic.
	OfNone
)

// Dialects returns all dialects that differ in how they check a batch.
func Dialects() []Dialect {
	return []Dialect{Kafka(), Kafka24(), Registry(), Redpanda(), RedpandaOfOld(), Gateway(), BlurringGateway(), EventHubs(), Unreadable(), Hanging(), Uneven(), SmallSockets(), Miscounting()}
}

// Kafka is Apache Kafka 2.5 and newer.
func Kafka() Dialect { return Dialect{Name: "kafka"} }

// Kafka24 is Apache Kafka 2.4, which lists only the first bad record.
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

// RedpandaOfOld is Redpanda before 25.3: it accepts any timestamp.
func RedpandaOfOld() Dialect {
	d := Redpanda()
	d.Name, d.AnyTimestamp = "redpanda_of_old", true
	return d
}

// Gateway rejects a whole request for a record that fails its check, and lists that
// record, as Kroxylicious 0.12.0 does. Its answers have the base offset 0.
func Gateway() Dialect { return Dialect{Name: "gateway", Content: true, WholeRequest: true} }

// BlurringGateway rejects a whole request for a record that fails its check, and lists
// none: all partitions get INVALID_RECORD.
func BlurringGateway() Dialect {
	return Dialect{Name: "blurring_gateway", Content: true, WholeRequest: true, Listing: ListsNone}
}

// EventHubs is Azure Event Hubs: it closes the connection on a request over 1,046,528
// bytes, and its only codec is gzip.
func EventHubs() Dialect {
	return Dialect{
		Name: "event_hubs", Versions: producingAtMost(7), Listing: ListsNone, NullKeys: true, AnyTimestamp: true, NeverRecompresses: true,
		NullRecords: kerr.InvalidRecord,
		MaxRequest:  1_046_528, Codecs: []kgo.CompressionCodecType{kgo.CodecNone, kgo.CodecGzip},
		Configs: Denied,
	}
}

// Unreadable is Kafka where the producer has no right to read topic configs.
func Unreadable() Dialect { return Dialect{Name: "unreadable", Configs: Denied} }

// Hanging is Kafka that never answers DescribeConfigs.
func Hanging() Dialect { return Dialect{Name: "hanging", Configs: Silent} }

// Uneven is Kafka whose brokers have different default limits for size and age.
func Uneven() Dialect {
	return Dialect{Name: "uneven", Limits: []int{50_000, 20_000, 100_000}, Ages: []time.Duration{time.Hour, 90 * time.Minute, 3 * time.Hour}}
}

// SmallSockets is Kafka with a socket.request.max.bytes below the largest batch.
func SmallSockets() Dialect { return Dialect{Name: "small_sockets", MaxRequest: 200_000} }

// Miscounting is Kafka behind a proxy with a check of its own. The proxy counts the
// records that it lists from one.
func Miscounting() Dialect {
	return Dialect{Name: "miscounting", Content: true, Listing: ListsFromOne, Configs: Denied}
}

// producingAtMost is kfake's versions, with produce up to the given one.
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

// forever is a bound that is never reached.
const forever = math.MaxInt64

package kafkafake

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// OtherDialects returns dialects that differ from Apache Kafka in how they number
// batches, report configs or measure records.
func OtherDialects() []Dialect {
	return []Dialect{
		CountingRejected(), FencingEpochs(), Tansu(), Unnumbered(),
		ConfigsOfAnotherTopic(), ConfigsOfNoTopic(), Encrypting(), SmallDecompressed(), Kafka45(),
	}
}

// DialectByName returns the dialect with a name, of Dialects and OtherDialects.
func DialectByName(name string) (Dialect, bool) {
	for _, d := range append(Dialects(), OtherDialects()...) {
		if d.Name == name {
			return d, true
		}
	}
	return Dialect{}, false
}

// CountingRejected is a broker with a schema check that counts rejected batches, as
// Tansu does. It expects the number after the rejected batch. If the rejected number
// comes again with good records, it answers DUPLICATE_SEQUENCE_NUMBER.
func CountingRejected() Dialect {
	return Dialect{Name: "counting_rejected", Content: true, Listing: ListsNone, Numbering: NumbersSeen}
}

// FencingEpochs is Kafka that answers INVALID_PRODUCER_EPOCH to an epoch which
// InitProducerID did not give. Apache Kafka accepts an epoch that the client raised by
// itself (KIP-360).
func FencingEpochs() Dialect {
	return Dialect{Name: "fencing_epochs", RaisedEpochs: kerr.InvalidProducerEpoch}
}

// Tansu is Tansu 0.6.0 with a JSON schema. It accepts any size, key and time, counts
// rejected batches, and rejects epochs that the client raised.
func Tansu() Dialect {
	d := CountingRejected()
	d.Name, d.RaisedEpochs = "tansu", kerr.ProducerFenced
	d.NullKeys, d.AnyTimestamp, d.AnySize, d.NeverRecompresses = true, true, true, true
	return d
}

// Unnumbered is Kafka that ignores sequence numbers: a batch that is sent again is
// appended again.
func Unnumbered() Dialect { return Dialect{Name: "unnumbered", Numbering: NumbersIgnored} }

// ConfigsOfAnotherTopic is Kafka behind a proxy that reports the configs of another
// topic: compacted, with a limit of 600 bytes.
func ConfigsOfAnotherTopic() Dialect {
	return Dialect{Name: "configs_of_another_topic", Configs: OfAnother}
}

// ConfigsOfNoTopic is Kafka behind a proxy that answers DescribeConfigs with
// UNKNOWN_TOPIC_OR_PARTITION.
func ConfigsOfNoTopic() Dialect { return Dialect{Name: "configs_of_no_topic", Configs: OfNone} }

// Encrypting is Kafka behind a gateway that encrypts each record, which makes it
// 142 bytes larger (Kroxylicious 0.12.0).
func Encrypting() Dialect { return Dialect{Name: "encrypting", Grows: 142} }

// SmallDecompressed is Kafka 4.4 with a max.decompressed.message.bytes of 2000.
func SmallDecompressed() Dialect { return Dialect{Name: "small_decompressed", MaxDecompressed: 2000} }

// Kafka45 is Apache Kafka 4.5, which is not released yet: see FirstFromZero
// (KAFKA-15591).
func Kafka45() Dialect { return Dialect{Name: "kafka45", FirstFromZero: true} }

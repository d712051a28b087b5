package kafkafake

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// OtherDialects returns dialects of brokers and gateways that differ from Apache
// Kafka in how they number batches, report configs or measure records.
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

// CountingRejected is a broker with a schema check that counts the sequence
// numbers of rejected batches as seen, as Tansu does. The next batch must follow
// the rejected one, and the number of the rejected one, sent again with good
// records, is answered DUPLICATE_SEQUENCE_NUMBER.
func CountingRejected() Dialect {
	return Dialect{Name: "counting_rejected", Content: true, Listing: ListsNone, Numbering: NumbersSeen}
}

// FencingEpochs is Kafka that rejects an epoch which InitProducerID did not give,
// with INVALID_PRODUCER_EPOCH. Apache Kafka takes an epoch that the client raised
// by itself (KIP-360).
func FencingEpochs() Dialect {
	return Dialect{Name: "fencing_epochs", RaisedEpochs: kerr.InvalidProducerEpoch}
}

// Tansu is Tansu 0.6.0 with a JSON schema: it takes records of any size, key and
// time, counts rejected batches as seen, and fences epochs that the client raised.
func Tansu() Dialect {
	d := CountingRejected()
	d.Name, d.RaisedEpochs = "tansu", kerr.ProducerFenced
	d.NullKeys, d.AnyTimestamp, d.AnySize, d.NeverRecompresses = true, true, true, true
	return d
}

// Unnumbered is Kafka that looks at no sequence number: a batch that is sent again
// is appended again.
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

//go:build linux || darwin

package main

import "slices"

// load describes the messages of a run, and how they are sent.
type load struct {
	Size        int    // bytes of a message
	Batch       int    // messages of a batch
	InFlight    int    // batches
	Topics      int    // messages take turns
	Partitions  int    // of each topic
	Compression string // by its name in the outputs
	Texts       int    // how many different messages there are
	PoisonEvery int    // one in so many messages is bad, 0 for none
	TopicLimit  int    // the topics' max.message.bytes, 0 is the default
	Compacted   bool   // the topics take no message without a key
	NoKeys      bool   // a bad message has no key, instead of being too large
	RandomBytes int    // size of a bad message of random bytes, 0 for text

	// Rate is the rate of the schedule in messages per second, 0 for as fast as
	// possible. HalfOfMost sets it to half of what kafka_franz can do there.
	Rate        float64
	HalfOfMost  bool
	IgnoreRules bool // kafka_guarded does not read topic configs
	OwnLimit    int  // max_message_bytes, 0 for the topic's

	// InARow makes first writes to new topics without a pause between.
	InARow   bool
	NoLinger bool // for kgo without an output

	// SharedValues makes all messages of a loop share one value, so that the memory of
	// the process is the memory of the client.
	SharedValues bool
}

var base = load{Size: 1000, Batch: 500, InFlight: 10, Topics: 1, Partitions: 6, Compression: "none", Texts: 1}

// change is how a load differs from another.
type change func(*load)

func (l load) with(c change) load {
	if c != nil {
		c(&l)
	}
	return l
}

const (
	poisonLimit = 20_000 // max.message.bytes if there are bad messages
	poisonSize  = 30_000
	tenthLimit  = 100_000 // a tenth of the default limit of topics and clients
)

func poison(every int) change {
	return func(l *load) { l.PoisonEvery, l.TopicLimit = every, poisonLimit }
}

func withoutKeys(every int) change {
	return func(l *load) { l.PoisonEvery, l.Compacted, l.NoKeys = every, true, true }
}

// randomPoison makes bad messages of random bytes, of the given size.
func randomPoison(every, bytes int) change {
	return func(l *load) { l.PoisonEvery, l.TopicLimit, l.RandomBytes = every, tenthLimit, bytes }
}

// never is a PoisonEvery with which the stream does the same work, but makes no bad
// message.
const never = -1

func clean(l *load) { l.PoisonEvery = never }

func unlimited(l *load) {
	clean(l)
	l.TopicLimit = 0
}

func ignoringRules(l *load) { l.IgnoreRules = true }

// With 64 in flight, no batch waits for an earlier one.
func everyMs(l *load) { l.Rate, l.Batch, l.InFlight = 1000, 1, 64 }

func tenThousandPerSecond(l *load) { l.Rate, l.Batch, l.InFlight = 10_000, 100, 64 }

// A loop that copies a value for each record takes as much CPU for that as the client.
func sharingValues(l *load) { l.SharedValues = true }

func oneInFlight(l *load) { l.InFlight = 1 }

func compressed(codec string) change {
	// A hundred messages are more than the window of a codec.
	return func(l *load) { l.Compression, l.Texts = codec, 100 }
}

// The runners: outputs of a stream, and loops without a stream.
const (
	guarded     = "kafka_guarded"
	franz       = "kafka_franz"
	sarama      = "kafka"
	redpanda    = "redpanda"
	drop        = "drop"
	asFranz     = "kgo as kafka_franz"
	produceSync = "kgo ProduceSync"
	guardWrite  = "guard.Write"
)

// row is a line of a table.
type row struct {
	name   string // if it is not the runner's
	runner string
	change change // to the scenario's load
	stock  bool   // with Go's default garbage collector, not with that of our binaries
	bad    int    // number of bad records, if they are searched
}

func (r row) title() string {
	if r.name != "" {
		return r.name
	}
	return r.runner
}

const (
	franzAgain   = "kafka_franz again"
	stockFranz   = "stock kafka_franz"
	cleanGuarded = "kafka_guarded, clean"
	blindGuarded = "kafka_guarded, rules unknown"
	oneTopic     = "kafka_guarded, 1 topic"
	fitting      = "kafka_guarded, max_message_bytes 80 kB"
	noLimit      = "kafka_guarded, clean, default limit"
)

var (
	everyone = []row{
		{runner: guarded},
		{runner: franz},
		{runner: franz, name: franzAgain},
		{runner: franz, name: stockFranz, stock: true},
		{runner: redpanda},
		{runner: sarama},
		{runner: asFranz},
		{runner: produceSync, change: sharingValues},
		{runner: guardWrite, change: sharingValues},
		{runner: drop},
	}
	few = []row{
		{runner: guarded},
		{runner: franz},
		{runner: franz, name: franzAgain},
		{runner: produceSync, change: sharingValues},
		{runner: guardWrite, change: sharingValues},
	}
	outputs  = []row{{runner: guarded}, {runner: franz}, {runner: sarama}}
	poisoned = []row{
		{runner: guarded, name: noLimit, change: unlimited},
		{runner: guarded, name: cleanGuarded, change: clean},
		{runner: guarded},
		{runner: guarded, name: blindGuarded, change: ignoringRules},
		{runner: franz},
	}
	// Without kafka_franz: it would write the key `null`, or fail batch after batch.
	keyless = []row{
		{runner: guarded, name: cleanGuarded, change: clean},
		{runner: guarded},
		{runner: guarded, name: blindGuarded, change: ignoringRules},
	}
	firsts = []row{
		{runner: guardWrite},
		{runner: produceSync, name: "kgo ProduceSync without linger", change: func(l *load) { l.NoLinger = true }},
		{runner: produceSync},
		{runner: asFranz},
	}
	searches = []row{
		{runner: guardWrite, name: "1", bad: 1},
		{runner: guardWrite, name: "10", bad: 10},
		{runner: guardWrite, name: "100", bad: 100},
		{runner: guardWrite, name: "500", bad: 500},
		{runner: guardWrite, name: "1,000", bad: 1000},
	}
)

// Names of scenarios that are used elsewhere, too.
const (
	manyTopics   = "1,000 topics of 10 partitions, one message for each in a batch"
	tenth        = "the topic's limit a tenth of the default, no poison"
	randomOne    = "1 % poison, 150 kB of random text, the topic's limit 100 kB"
	randomHalf   = "half poison, 150 kB of random text, the topic's limit 100 kB"
	growing      = "the topic's limit 100 kB, and each record gets 142 bytes larger on its way"
	noKeys       = "half without a key, compacted topic"
	firstAck     = "from start to the first acknowledgement"
	bigMessages  = "memory: 10,000 messages of 1 MB, max_buffered_bytes 256MB"
	afterASecond = "the topic's limit a tenth of the default, no poison, after the first second"
	roundTrip    = "a network in between"
	roundTrip1   = "a network in between, 1 partition"
	roundTripOne = "a network in between, max_in_flight 1"
	eachMs       = "latency at 1 message per ms"
	tenThousand  = "latency at 10,000 messages per second in batches of 100"
	halfOfMost   = "latency at half the most that kafka_franz can do"
	recovers     = "recovery: the broker is away for 10 s, at 10,000 messages per second in batches of 100"
	slow         = "one of three nodes answers 200 ms late"
	newTopic     = "first write to a new topic, above the time of its metadata"
	newTopics    = "first writes to new topics in a row, above the time of their metadata"
	findInvalid  = "so many invalid records of 1,000 in one partition, rules unknown"
	findLarge    = "so many oversize records of 1,000 in one partition, rules unknown"
)

// kind says what a run measures.
type kind int

const (
	rates       kind = iota // cost of the messages, without the start of the stream
	once                    // the whole process, start included
	finding                 // number of produce requests until the bad records are found
	paced                   // delays by a schedule, after a second of warm-up
	recovering              // delays by a schedule, with an outage of the broker
	firstWrites             // writes to topics that the client does not know yet
)

// scenario is one table of the report for each target.
type scenario struct {
	name    string
	kind    kind
	change  change // of the base load
	rows    []row
	against string   // the row that others are compared with
	targets []string // nil is blackhole and kafka
	short   []string // targets of the short form

	count   int     // number of messages of a run of kind once
	seconds float64 // the least time of a run, if not that of the flag
	rounds  int     // at most, 0 for no limit
}

// on are the targets of the scenario.
func (s scenario) on() []string {
	if s.targets == nil {
		return []string{blackhole, kafka}
	}
	return s.targets
}

var scenarios = []scenario{
	{name: "base", rows: everyone, against: franz, short: []string{blackhole, kafka}},
	{name: "100 B", change: func(l *load) { l.Size = 100 }, rows: few, against: franz},
	{name: "10 kB", change: func(l *load) { l.Size = 10_000 }, rows: few, against: franz, rounds: 3},
	{name: "batch 1", change: func(l *load) { l.Batch = 1 }, rows: few, against: franz, rounds: 3},
	{name: "batch 50", change: func(l *load) { l.Batch = 50 }, rows: few, against: franz, rounds: 3},
	{name: "max_in_flight 1", change: oneInFlight, rows: few, against: franz},
	{name: "max_in_flight 64", change: func(l *load) { l.InFlight = 64 }, rows: few, against: franz, rounds: 3},
	{name: "lz4", change: compressed("lz4"), rows: few, against: franz, rounds: 3},
	{name: "zstd", change: compressed("zstd"), rows: few, against: franz, rounds: 3},
	{name: "1 partition", change: func(l *load) { l.Partitions = 1 }, rows: few, against: franz, rounds: 3},
	{name: "1,000 partitions", change: func(l *load) { l.Partitions = 1000 }, rows: few, against: franz},
	{name: "100 topics", change: func(l *load) { l.Topics = 100 }, rows: few, against: franz, rounds: 3},
	{name: "2,000 topics of 1 partition", change: func(l *load) { l.Topics, l.Partitions = 2000, 1 }, rows: few, against: franz, targets: []string{blackhole}, rounds: 3},
	{
		name:   manyTopics,
		change: func(l *load) { l.Batch, l.Topics, l.Partitions = 1000, 1000, 10 },
		rows: []row{
			{runner: guarded, name: oneTopic, change: func(l *load) { l.Topics = 1 }},
			{runner: guarded},
			{runner: franz, name: "kafka_franz, 1 topic", change: func(l *load) { l.Topics = 1 }},
			{runner: franz},
		},
		against: oneTopic,
		targets: []string{blackhole},
	},
	{name: "0.1 % poison", change: poison(1000), rows: poisoned, against: cleanGuarded, rounds: 3},
	{name: "1 % poison", change: poison(100), rows: poisoned, against: cleanGuarded, short: []string{blackhole}, seconds: 1.5},
	{name: "1 % poison", change: poison(100), rows: keyless, against: cleanGuarded, targets: []string{fakeRedpanda}, short: []string{fakeRedpanda}, seconds: 1.5},
	{name: "half poison", change: poison(2), rows: poisoned, against: cleanGuarded, rounds: 5},
	{name: randomOne, change: randomPoison(100, 150_000), rows: keyless, against: cleanGuarded, rounds: 5},
	{name: randomHalf, change: randomPoison(2, 150_000), rows: keyless, against: cleanGuarded, rounds: 5},
	{
		name:   growing,
		change: func(l *load) { l.TopicLimit = tenthLimit },
		rows: []row{
			{runner: guarded, name: fitting, change: func(l *load) { l.OwnLimit = tenthLimit * 8 / 10 }},
			{runner: guarded},
			{runner: guarded, name: blindGuarded, change: ignoringRules},
		},
		against: fitting,
		targets: []string{fakeGateway},
		seconds: 1.5,
		rounds:  5,
	},
	{name: noKeys, change: withoutKeys(2), rows: keyless, against: cleanGuarded, targets: []string{fakeKafka, kafka}, short: []string{fakeKafka}, rounds: 5},
	{name: findInvalid, kind: finding, change: withoutKeys(1), rows: searches, targets: []string{behindProxy}, rounds: 3},
	{name: findLarge, kind: finding, change: poison(1), rows: searches, targets: []string{behindProxy}, rounds: 3},
	{
		name:   tenth,
		change: func(l *load) { l.TopicLimit = tenthLimit },
		rows: []row{
			{runner: guarded, name: noLimit, change: unlimited},
			{runner: guarded},
			{runner: guarded, name: blindGuarded, change: ignoringRules},
			{runner: franz},
		},
		against: guarded,
		rounds:  3,
	},
	{
		name:   afterASecond,
		kind:   paced,
		change: func(l *load) { l.TopicLimit = tenthLimit },
		rows: []row{
			{runner: guarded},
			{runner: guarded, name: blindGuarded, change: ignoringRules},
		},
		against: guarded,
		short:   []string{blackhole},
	},
	{name: roundTrip, rows: outputs, against: franz, targets: []string{away}},
	{name: roundTrip, rows: outputs, against: franz, targets: []string{near, far}, rounds: 3},
	{name: roundTrip, rows: outputs, against: franz, targets: []string{farthest}, rounds: 3, seconds: 4}, // a start takes a second
	{name: roundTrip1, change: func(l *load) { l.Partitions = 1 }, rows: outputs, against: franz, targets: []string{away, farthest}, rounds: 3, seconds: 4},
	{name: roundTripOne, change: oneInFlight, rows: slices.Concat(outputs, []row{{runner: guardWrite}, {runner: produceSync}}), against: franz, targets: []string{away}, seconds: 2},
	{name: roundTripOne, change: oneInFlight, rows: outputs, against: franz, targets: []string{near, far}, rounds: 3},
	{name: slow, kind: paced, rows: outputs, against: franz, targets: []string{slowNode}, rounds: 3, seconds: 2},
	{name: eachMs, kind: paced, change: everyMs, rows: outputs, against: sarama, targets: []string{kafka}, short: []string{kafka}, seconds: 3},
	{name: eachMs, kind: paced, change: everyMs, rows: outputs, against: sarama, targets: []string{near, away, far}, seconds: 3, rounds: 3},
	{name: tenThousand, kind: paced, change: tenThousandPerSecond, rows: outputs, against: sarama, targets: []string{kafka}, seconds: 3},
	{name: tenThousand, kind: paced, change: tenThousandPerSecond, rows: outputs, against: sarama, targets: []string{away}, seconds: 3, rounds: 3},
	{name: halfOfMost, kind: paced, change: func(l *load) { l.HalfOfMost = true }, rows: outputs, against: sarama, targets: []string{kafka}, seconds: 3, rounds: 5},
	{name: recovers, kind: recovering, change: func(l *load) { l.Rate, l.Batch = 10_000, 100 }, rows: outputs[:2], against: franz, targets: []string{behindProxy}, seconds: 20, rounds: 5},
	{
		name:    newTopic,
		kind:    firstWrites,
		change:  func(l *load) { l.Topics = 40 },
		rows:    firsts,
		against: produceSync,
		short:   []string{blackhole},
		rounds:  5,
	},
	{
		name:    newTopics,
		kind:    firstWrites,
		change:  func(l *load) { l.Topics, l.InARow = 40, true },
		rows:    firsts,
		against: produceSync,
		rounds:  5,
	},
	{
		name:    firstAck,
		kind:    once,
		change:  func(l *load) { l.Batch = 1 },
		rows:    []row{{runner: guarded}, {runner: franz}},
		against: franz,
		targets: []string{blackhole},
		short:   []string{blackhole},
		count:   1,
	},
	{
		name: bigMessages,
		kind: once,
		change: func(l *load) {
			l.Size, l.Batch, l.InFlight, l.SharedValues = 1_000_000, 2500, 4, true
		},
		rows:    []row{{runner: guardWrite}},
		targets: []string{blackhole},
		count:   10_000,
		rounds:  1,
	},
}

//go:build linux || darwin

package main

// load is what a run sends, and how.
type load struct {
	Size        int    // bytes of a message
	Batch       int    // messages of a batch
	InFlight    int    // batches
	Topics      int    // the messages take turns
	Partitions  int    // of each topic
	Compression string // as the outputs name it
	Texts       int    // how many different messages there are
	PoisonEvery int    // one in so many messages is over the topic's limit, 0 is none
	TopicLimit  int    // the topics' max.message.bytes, 0 is the default
	IgnoreRules bool   // kafka_guarded does not ask for the topic's rules

	// SharedValues has the messages of a loop be the same memory, so that
	// what it takes in all is what the client takes.
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
	poisonLimit = 20_000 // max.message.bytes where there is poison
	poisonSize  = 30_000
	tenthLimit  = 100_000 // a tenth of what topics and clients take by default
)

func poison(every int) change {
	return func(l *load) { l.PoisonEvery, l.TopicLimit = every, poisonLimit }
}

// never is a PoisonEvery of which the stream takes as much trouble, and nothing
// comes of it.
const never = -1

func clean(l *load) { l.PoisonEvery = never }

func unlimited(l *load) {
	clean(l)
	l.TopicLimit = 0
}

func ignoringRules(l *load) { l.IgnoreRules = true }

func compressed(codec string) change {
	// A hundred different messages are more than a codec remembers.
	return func(l *load) { l.Compression, l.Texts = codec, 100 }
}

// The runners: outputs of a stream, and loops without one.
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

// row is one line of a table: who sends.
type row struct {
	name   string // if it is not the runner's
	runner string
	change change // of the scenario's load
	stock  bool   // the garbage collector is as Go has it, and not as our binaries do
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
		{runner: produceSync},
		{runner: drop},
	}
	few = []row{
		{runner: guarded},
		{runner: franz},
		{runner: franz, name: franzAgain},
		{runner: produceSync},
	}
	poisoned = []row{
		{runner: guarded, name: noLimit, change: unlimited},
		{runner: guarded, name: cleanGuarded, change: clean},
		{runner: guarded},
		{runner: guarded, name: blindGuarded, change: ignoringRules},
		{runner: franz},
	}
)

// Longer names of scenarios.
const (
	manyTopics  = "1,000 topics of 10 partitions, one message for each in a batch"
	tenth       = "the topic's limit a tenth of the default, no poison"
	firstAck    = "from start to the first acknowledgement"
	bigMessages = "memory: 10,000 messages of 1 MB, max_buffered_bytes 256MB"
)

// scenario is one table of the report for each target.
type scenario struct {
	name    string
	change  change // of the base load
	rows    []row
	against string   // the row that others are compared with
	targets []string // nil is all
	short   []string // those of the short form

	// count has each process send just so many messages, once: nothing is
	// subtracted, and its time counts from its start to its end.
	count int
	// rounds is the most that there are, 0 is no limit.
	rounds int
}

var scenarios = []scenario{
	{name: "base", rows: everyone, against: franz, short: []string{blackhole, kafka}},
	{name: "100 B", change: func(l *load) { l.Size = 100 }, rows: everyone, against: franz},
	{name: "10 kB", change: func(l *load) { l.Size = 10_000 }, rows: everyone, against: franz, rounds: 3},
	{name: "batch 1", change: func(l *load) { l.Batch = 1 }, rows: few, against: franz},
	{name: "batch 50", change: func(l *load) { l.Batch = 50 }, rows: few, against: franz, rounds: 3},
	{name: "max_in_flight 1", change: func(l *load) { l.InFlight = 1 }, rows: few, against: franz},
	{name: "max_in_flight 64", change: func(l *load) { l.InFlight = 64 }, rows: few, against: franz, rounds: 3},
	{name: "lz4", change: compressed("lz4"), rows: few, against: franz},
	{name: "zstd", change: compressed("zstd"), rows: few, against: franz, rounds: 3},
	{name: "1 partition", change: func(l *load) { l.Partitions = 1 }, rows: few, against: franz},
	{name: "1,000 partitions", change: func(l *load) { l.Partitions = 1000 }, rows: few, against: franz},
	{name: "100 topics", change: func(l *load) { l.Topics = 100 }, rows: few, against: franz, rounds: 3},
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
	{name: "1 % poison", change: poison(100), rows: poisoned, against: cleanGuarded, short: []string{blackhole}},
	{name: "half poison", change: poison(2), rows: poisoned, against: cleanGuarded},
	{
		name:   tenth,
		change: func(l *load) { l.TopicLimit = tenthLimit },
		rows: []row{
			{runner: guarded, name: noLimit, change: unlimited},
			{runner: guarded},
			{runner: guarded, name: blindGuarded, change: ignoringRules},
			{runner: franz},
		},
		against: noLimit,
	},
	{
		name:    firstAck,
		change:  func(l *load) { l.Batch = 1 },
		rows:    []row{{runner: guarded}, {runner: franz}},
		against: franz,
		targets: []string{blackhole},
		short:   []string{blackhole},
		count:   1,
	},
	{
		name: bigMessages,
		change: func(l *load) {
			l.Size, l.Batch, l.InFlight, l.SharedValues = 1_000_000, 2500, 4, true
		},
		rows:    []row{{runner: guardWrite}},
		targets: []string{blackhole},
		count:   10_000,
		rounds:  1,
	},
}

package output

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// View is the part of a config that package check compares with the cluster.
type View struct {
	Guard           guard.Config
	Client          []kgo.Opt
	MaxRequestBytes int      // broker_write_max_bytes
	Seeds           []string // host:port
	SASL            []string // the mechanisms by name, in order of preference

	Topic     *service.InterpolatedString
	Partition *service.InterpolatedString // nil if not configured
	Keyed     bool                        // whether there is a key

	// Hints are warnings about settings that work, but may not be meant so.
	Hints []string

	client     clientConfig
	policy     batching
	deadLetter bool
}

// ViewOf returns the view of a config that was parsed by Spec. Its error is that
// of the start.
func ViewOf(conf *service.ParsedConfig) (View, error) {
	p := newParser(conf)
	client, records := p.config(nil)
	policy, hints := p.batching(), p.hints(client)
	if err := p.err(); err != nil {
		return View{}, err
	}
	v := View{
		Guard:           client.guard,
		Client:          client.opts,
		MaxRequestBytes: client.maxRequestBytes,
		Seeds:           client.seeds,
		SASL:            client.sasl.names(),
		Topic:           records.topic,
		Partition:       records.partition,
		Keyed:           records.key != nil,
		Hints:           hints,
		client:          client,
		policy:          policy,
		deadLetter:      p.has(fieldDeadLetter),
	}
	return v, nil
}

// Ping asks one of the seed brokers whether it answers and takes the credentials.
func (v View) Ping(ctx context.Context, seed string) error { return v.client.ping(ctx, seed) }

// RefusesNewest reports whether brokers close the connection on the newest ApiVersions
// request, and answer to older ones.
func (v View) RefusesNewest(ctx context.Context) bool { return v.client.refusesNewest(ctx, v.Seeds) }

// Name returns the name of a right at the endpoint of the config.
func (v View) Name(r Right) string { return v.client.endpoint().name(r) }

// Warnings returns what can go wrong with the config at its position, as the log has it
// at the start.
func (v View) Warnings(around errorrouting.Output) []string {
	around, deleted := deletion(v.client, around, v.deadLetter)
	texts := warnings(v.client, around, v.policy, v.deadLetter)
	if deleted != "" {
		texts = append(texts, deleted)
	}
	return append(texts, bareFiles(v.client, around)...)
}

package guard

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Ping reports whether any broker answers. The error is kgo's own.
func (g *Guard) Ping(ctx context.Context) error { return g.client.Ping(ctx) }

// UseSeeds sets the seed brokers for a client that knows no broker of the cluster any
// more. They replace those of kgo.SeedBrokers. It asks for the cluster's brokers first,
// so that a seed broker without an answer costs no time at the start.
func (g *Guard) UseSeeds(ctx context.Context, seeds ...string) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := req.RequestWith(ctx, g.client); err != nil {
		return fmt.Errorf("asking for the cluster's brokers: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return g.client.UpdateSeedBrokers(seeds...)
}

// Rules returns what a topic accepts, as the cluster reported it at most a second ago.
// Rules.Unknown says why it is not known.
func (g *Guard) Rules(ctx context.Context, topic string) Rules {
	g.limits.Learn(ctx, []string{topic})
	g.limits.Refresh(ctx, []string{topic})
	return *g.limits.Of(topic)
}

// RequestLimit returns the size in bytes of the largest request that every broker
// accepts (socket.request.max.bytes). Reading it takes the right to DESCRIBE_CONFIGS on
// the cluster.
func (g *Guard) RequestLimit(ctx context.Context) (int, error) {
	const property = "socket.request.max.bytes"
	admin := kadm.NewClient(g.client)
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		return 0, fmt.Errorf("listing brokers: %w", err)
	}
	configs, err := admin.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		return 0, fmt.Errorf("describing broker configs: %w", err)
	}
	limit := math.MaxInt
	for _, broker := range configs {
		if broker.Err != nil {
			return 0, fmt.Errorf("describing configs of broker %s: %w", broker.Name, broker.Err)
		}
		for _, c := range broker.Configs {
			if c.Key != property || c.Value == nil {
				continue
			}
			n, err := strconv.Atoi(*c.Value)
			if err != nil {
				return 0, fmt.Errorf("reading %s of broker %s: %w", property, broker.Name, err)
			}
			if n > 0 { // some brokers write -1 or 0 for none
				limit = min(limit, n)
			}
		}
	}
	if limit == math.MaxInt {
		return 0, fmt.Errorf("no broker reports its %s", property)
	}
	return limit, nil
}

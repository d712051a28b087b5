//go:build linux || darwin

package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/onkafka"
)

// 10,000 requests from 16 clients, some of which disconnect: each result is true, and
// each record is there once. The time of a request is logged beside that of a plain
// produce of as many records by as many goroutines.
func TestHTTPGateway(t *testing.T) {
	t.Parallel()
	const clients, requests, perRequest = 16, 10_000, 3
	c := onkafka.OneNode(t)
	for _, topic := range []string{"gateway", "plain"} {
		c.CreateTopic(topic, 3, 1, map[string]string{"max.message.bytes": "2000"})
	}
	g := gatewaytest.Start(t, strings.Join(c.Brokers(), ","), 5*time.Minute, 4*time.Minute)
	load := g.Load("gateway", clients, requests, 3000)
	topic := map[string]string{}
	for _, r := range c.ReadAll("gateway") {
		topic[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = string(r.Value)
	}
	require.Empty(t, load.Check(topic))
	require.NotZero(t, load.Gone, "no client went away")
	require.NotZero(t, load.Refused)

	plain := producePlainly(t, c.ClientOpts(""), clients, requests, perRequest)
	t.Logf("RESULT | HTTP gateway: %d requests of %d records, %d clients | p50 %s, p99 %s | plain produce p50 %s, p99 %s",
		requests, perRequest, clients, percentile(load.Took, 50), percentile(load.Took, 99), percentile(plain, 50), percentile(plain, 99))
}

func producePlainly(t *testing.T, opts []kgo.Opt, clients, requests, perRequest int) []time.Duration {
	t.Helper()
	kafka, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic("plain"))...)
	require.NoError(t, err)
	defer kafka.Close()
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range requests / clients {
				records := make([]*kgo.Record, perRequest)
				for i := range records {
					records[i] = kgo.StringRecord("as long as most")
				}
				began := time.Now()
				err := kafka.ProduceSync(t.Context(), records...).FirstErr()
				mu.Lock()
				took = append(took, time.Since(began))
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.NoError(t, failed)
	return took
}

func percentile(took []time.Duration, p int) time.Duration {
	slices.Sort(took)
	return took[len(took)*p/100].Round(10 * time.Microsecond)
}

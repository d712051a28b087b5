//go:build linux || darwin

package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// metadataTime has the longest time that a metadata request took.
type metadataTime struct{ longest atomic.Int64 }

// OnBrokerE2E is kgo's hook.
func (m *metadataTime) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	const metadata = 3
	if key == metadata {
		m.longest.Store(max(m.longest.Load(), int64(e.DurationE2E())))
	}
}

// apart is the pause between two first writes. kgo asks for metadata at most once in 10
// ms, so without it a write would wait for the one before.
const apart = 20 * time.Millisecond

// measureFirst writes a record to each of the topics, one after the other, by a client
// that has written before. The time of the metadata request is subtracted, since each
// client needs it.
func (j job) measureFirst(ctx context.Context) (m measurement, err error) {
	j.metadata = &metadataTime{}
	write, end, err := writers[j.Runner](j)
	if err != nil {
		return m, fmt.Errorf("making the client: %w", err)
	}
	defer end()
	topics := j.Load.topics(j.Topic)
	value := []byte(strings.Repeat("x", j.Load.Size))
	var above []time.Duration
	for i, topic := range topics {
		if !j.Load.InARow {
			time.Sleep(apart)
		}
		j.metadata.longest.Store(0)
		begin := time.Now()
		if err := write(ctx, []*kgo.Record{{Topic: topic, Value: value}}); err != nil {
			return m, fmt.Errorf("writing to %s: %w", topic, err)
		}
		took := time.Since(begin) - time.Duration(j.metadata.longest.Load())
		if i > 0 { // the first one is the client's first, too
			above = append(above, took)
		}
	}
	m.Sent, m.Good, m.Messages = len(topics), len(topics), len(above)
	m.Acked = percentilesOf(above)
	m.PeakRSS = peakRSS()
	return m, nil
}

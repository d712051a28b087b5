//go:build linux || darwin

package onkafka

import (
	"context"
	"fmt"
	"time"
)

// Channel is a feed of the batches that come from the channel.
func Channel(all <-chan []Message) Feed {
	return func(ctx context.Context) []Message {
		select {
		case next := <-all:
			return next
		case <-ctx.Done():
			return nil
		}
	}
}

// Steady is a feed of batches of ten good messages, until the input ends.
func Steady(topic, prefix string) Feed {
	n := 0
	return Paced(func() []Message {
		var batch []Message
		for range 10 {
			batch = append(batch, Good(topic, fmt.Sprintf("%s-%06d", prefix, n)))
			n++
		}
		return batch
	})
}

// Paced is a feed at a rate that leaves CPU for the cluster.
func Paced(next func() []Message) Feed {
	tick := time.NewTicker(20 * time.Millisecond)
	return func(ctx context.Context) []Message {
		select {
		case <-tick.C:
			return next()
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}

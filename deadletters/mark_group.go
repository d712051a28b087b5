package deadletters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupMarks keeps the mark of a topic in consumer groups without members, one for each
// pass. The committed offsets are the places of Next. So Kafka's own tools show the
// letters that are left as the lag of the group. The rest is in the metadata of the
// commits.
type groupMarks struct {
	admin *kadm.Client
	topic string
	base  string // of the names of the groups
	// parts has all partitions of the topic, even empty ones.
	parts map[int32]int64 // partition to its first offset
	owned bool
}

// commitMetadata is the metadata of a partition's commit. The lowest partition's has
// the data of the pass, too.
type commitMetadata struct {
	Sending []int64  `json:"sending,omitempty"`
	Filter  *filter  `json:"filter,omitempty"`
	Account *account `json:"account,omitempty"`
	Owner   string   `json:"owner,omitempty"`
}

func (g *groupMarks) String() string { return "consumer groups " + g.base + ".1 and so on" }

func (g *groupMarks) group(n int) string { return g.base + "." + strconv.Itoa(n) }

func (g *groupMarks) load(ctx context.Context) (*mark, error) {
	m := &mark{}
	for {
		p, err := g.read(ctx, len(m.Passes)+1)
		if err != nil {
			return nil, err
		}
		if p == nil {
			break
		}
		m.Passes = append(m.Passes, p)
	}
	if err := m.compile(); err != nil {
		return nil, fmt.Errorf("reading the mark in %s: %w", g, err)
	}
	return m, nil
}

// read returns the pass in a group, nil if there is none.
func (g *groupMarks) read(ctx context.Context, n int) (*pass, error) {
	group := g.group(n)
	offsets, err := retried(ctx, func() (kadm.OffsetResponses, error) { return g.admin.FetchOffsetsForTopics(ctx, group, g.topic) })
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the mark in the consumer group %s: %w (to keep it in a file, use --mark FILE)", group, err)
	}
	p := &pass{Next: map[string]int64{}, Sending: map[string][]int64{}}
	found := false
	for partition, o := range offsets[g.topic] {
		if o.Err != nil {
			return nil, fmt.Errorf("reading the mark in the consumer group %s: %w", group, o.Err)
		}
		if o.At < 0 {
			continue
		}
		found = true
		var meta commitMetadata
		if o.Metadata != "" {
			if err := json.Unmarshal([]byte(o.Metadata), &meta); err != nil {
				return nil, fmt.Errorf("the consumer group %s was not written by redrive: choose another one with --group", group)
			}
		}
		part := g.topic + "/" + strconv.Itoa(int(partition))
		p.Next[part] = o.At
		if len(meta.Sending) > 0 {
			p.Sending[part] = meta.Sending
		}
		if meta.Filter != nil {
			p.Filter, p.Owner = meta.Filter, meta.Owner
		}
		if meta.Account != nil {
			p.Account = *meta.Account
		}
	}
	if !found {
		return nil, nil
	}
	if p.Filter == nil {
		return nil, fmt.Errorf("the consumer group %s was not written by redrive: choose another one with --group", group)
	}
	return p, nil
}

func (g *groupMarks) save(ctx context.Context, m *mark, p *pass) error {
	n := 1
	for m.Passes[n-1] != p {
		n++
	}
	if g.owned {
		there, err := g.read(ctx, n)
		if err != nil {
			return err
		}
		if there == nil || there.Owner != p.Owner {
			return errOwner
		}
	}
	g.owned = true
	lowest := int32(-1)
	for partition := range g.parts {
		if lowest < 0 || partition < lowest {
			lowest = partition
		}
	}
	var offsets kadm.Offsets
	for partition, start := range g.parts {
		part := g.topic + "/" + strconv.Itoa(int(partition))
		meta := commitMetadata{Sending: p.Sending[part]}
		if partition == lowest {
			meta.Filter, meta.Account, meta.Owner = p.Filter, &p.Account, p.Owner
		}
		text, err := json.Marshal(meta)
		if err != nil {
			return err
		}
		offsets.Add(kadm.Offset{Topic: g.topic, Partition: partition, At: max(p.Next[part], start), LeaderEpoch: -1, Metadata: string(text)})
	}
	_, err := retried(ctx, func() (any, error) { return nil, g.admin.CommitAllOffsets(ctx, g.group(n), offsets) })
	if errors.Is(err, kerr.OffsetMetadataTooLarge) {
		return fmt.Errorf("writing the mark: the flags that choose letters are longer than a commit takes (the brokers' offset.metadata.max.bytes): use --mark FILE: %w", err)
	}
	if err != nil {
		return fmt.Errorf("writing the mark to the consumer group %s: %w (to keep it in a file, use --mark FILE)", g.group(n), err)
	}
	return nil
}

// patience is how long a request for a mark is retried. The first use of consumer
// groups makes a cluster create __consumer_offsets.
const patience = time.Minute

func retried[T any](ctx context.Context, request func() (T, error)) (T, error) {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(patience))
	return backoff.RetryWithData(func() (T, error) {
		result, err := request()
		if err != nil && !kerr.IsRetriable(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithContext(pauses, ctx))
}

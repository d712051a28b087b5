package deadletters

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The most that a broker sends at a time. It bounds memory, since batches may be many
// times larger when decompressed. A larger batch is sent all the same.
const (
	fetchMaxBytes          = 4 << 20
	fetchMaxPartitionBytes = 1 << 20
)

// topicSource is a topic with dead letters, up to its end at the time of opening.
type topicSource struct {
	topic  string
	opts   []kgo.Opt
	client *kgo.Client // for all requests but fetches
	admin  *kadm.Client
	starts map[int32]int64
	ends   map[int32]int64
}

func openTopic(ctx context.Context, topic string, opts []kgo.Opt) (*topicSource, error) {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	s := &topicSource{topic: topic, opts: opts, client: client, admin: kadm.NewClient(client), starts: map[int32]int64{}, ends: map[int32]int64{}}
	if err := s.bounds(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("opening topic %s: %w", topic, err)
	}
	return s, nil
}

func (s *topicSource) bounds(ctx context.Context) error {
	topics, err := s.admin.ListTopics(ctx, s.topic)
	if err != nil {
		return err
	}
	if err := topics[s.topic].Err; err != nil {
		return err
	}
	starts, err := s.admin.ListStartOffsets(ctx, s.topic)
	if err != nil {
		return err
	}
	ends, err := s.admin.ListEndOffsets(ctx, s.topic)
	if err != nil {
		return err
	}
	for p := range topics[s.topic].Partitions {
		start, end := starts[s.topic][p], ends[s.topic][p]
		if start.Err != nil {
			return fmt.Errorf("partition %d: %w", p, start.Err)
		}
		if end.Err != nil {
			return fmt.Errorf("partition %d: %w", p, end.Err)
		}
		s.starts[p], s.ends[p] = start.Offset, end.Offset
	}
	return nil
}

func (s *topicSource) String() string { return "topic " + s.topic }

func (s *topicSource) close() { s.client.Close() }

func (s *topicSource) size() (n int64) {
	for p := range s.ends {
		n += s.ends[p] - s.starts[p]
	}
	return n
}

// part is the name of a partition as a part of a source.
func (s *topicSource) part(partition int32) string {
	return s.topic + "/" + strconv.Itoa(int(partition))
}

// partitionOf is the inverse of part.
func partitionOf(part string) int32 {
	n, _ := strconv.Atoi(part[strings.LastIndexByte(part, '/')+1:])
	return int32(n)
}

func (s *topicSource) start(part string) int64 { return s.starts[partitionOf(part)] }

// firsts has no part: a topic that is created again has lost its mark, too.
func (s *topicSource) firsts() (map[string]string, error) { return nil, nil }

func (s *topicSource) read(ctx context.Context, from map[string]int64, each func(*Letter) error, passed func(int64)) error {
	open := map[int32]int64{} // the next offset by partition
	parts := map[int32]string{}
	offsets := map[int32]kgo.Offset{}
	skipped := int64(0)
	for p, end := range s.ends {
		parts[p] = s.part(p)
		next := max(s.starts[p], from[parts[p]])
		skipped += next - s.starts[p]
		if next < end {
			open[p] = next
			offsets[p] = kgo.NewOffset().At(next)
		}
	}
	passed(skipped)
	if len(open) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append(slices.Clone(s.opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: offsets}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // records deleted since are skipped
		kgo.FetchMaxBytes(fetchMaxBytes), kgo.FetchMaxPartitionBytes(fetchMaxPartitionBytes),
		// The last offset may be a control record.
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()
	for len(open) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("reading topic %s partition %d: %w", e.Topic, e.Partition, e.Err)
		}
		var failed error
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if failed == nil {
				failed = s.partition(f, open, parts, each, passed)
			}
		})
		if failed != nil {
			return failed
		}
		for p := range offsets {
			if _, is := open[p]; !is {
				client.PauseFetchPartitions(map[string][]int32{s.topic: {p}})
				delete(offsets, p)
			}
		}
	}
	return nil
}

// partition passes on the records of a partition, and removes it from open at its end.
func (s *topicSource) partition(f kgo.FetchTopicPartition, open map[int32]int64, parts map[int32]string, each func(*Letter) error, passed func(int64)) error {
	p, end := f.Partition, s.ends[f.Partition]
	for _, r := range f.Records {
		next, is := open[p]
		if !is {
			return nil
		}
		if r.Offset < end && !r.Attrs.IsControl() {
			l := newLetter(place{parts[p], r.Offset}, r.Headers, r.Value, r.Timestamp)
			if l.topic == nil && r.Key != nil {
				l.key = r.Key // it is no dead letter, so only its own key is known
			}
			if err := each(&l); err != nil {
				return err
			}
		}
		passed(min(r.Offset+1, end) - next)
		if open[p] = r.Offset + 1; r.Offset+1 >= end {
			delete(open, p)
		}
	}
	return nil
}

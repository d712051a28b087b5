package producer

import (
	"slices"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// Withdraw ends records: those that may have been written are Unknown, the others
// NotWritten.
func (p *Producer) Withdraw(records []*partition.Record, which partition.Withdrawal, why func(r *partition.Record) error) {
	for len(records) > 0 {
		byPartition := map[*partition.Partition][]*partition.Record{}
		var pending []*partition.Record
		for _, r := range records {
			if part := r.Place(); part != nil {
				byPartition[part] = append(byPartition[part], r)
			} else {
				pending = append(pending, r)
			}
		}
		// Some may have got a partition, or lost it, meanwhile.
		records = p.withdrawPending(pending, which, why)
		for part, rs := range byPartition {
			records = append(records, part.Withdraw(rs, which, why)...)
		}
	}
}

// withdrawPending takes back records that have no partition yet. Those that are before the
// Policy end when it has decided. It returns those that have a partition by now.
func (p *Producer) withdrawPending(records []*partition.Record, which partition.Withdrawal, why func(*partition.Record) error) (placed []*partition.Record) {
	byTopic := map[string][]*partition.Record{}
	for _, r := range records {
		byTopic[r.Topic] = append(byTopic[r.Topic], r)
	}
	for name, rs := range byTopic {
		t := p.topic(name)
		t.mu.Lock()
		asked := map[*partition.Record]func(){}
		for b, end := range t.asked {
			for _, r := range b.Records {
				asked[r] = end
			}
		}
		for _, r := range rs {
			end := asked[r]
			switch {
			case r.Ended():
			case r.Partitioned():
				placed = append(placed, r)
			case which == partition.Doubtful:
			case end != nil:
				r.Leave(func() error { return why(r) })
				if which == partition.All {
					end()
				}
			default:
				t.finish([]*partition.Record{r}, why(r))
			}
		}
		t.pending = slices.DeleteFunc(t.pending, (*partition.Record).Ended)
		t.unlock()
	}
	return placed
}

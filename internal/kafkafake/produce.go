package kafkafake

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce checks a produce request, and leaves kfake the partitions that are not
// rejected.
func (f *front) produce(e *exchange, req *kmsg.ProduceRequest) ([]byte, error) {
	d := &f.cluster.dialect
	var worst *Refusal
	for i := range req.Topics {
		req.Topics[i].Partitions = lastOfEach(req.Topics[i].Partitions)
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			switch {
			case p.Records == nil && d.NullRecords == nil:
				return nil, f.mute()
			case p.Records == nil:
				e.refusePartition(partitionOf{i, j}, &Refusal{Code: d.NullRecords})
			case len(p.Records) == 0: // Kafka answers these, unlike null records
				e.refusePartition(partitionOf{i, j}, &Refusal{Code: kerr.InvalidRecord})
			case e.refused[partitionOf{i, j}] == nil: // no fault rejects it
				if r, content := f.check(e.names[i], p); r != nil {
					e.refusePartition(partitionOf{i, j}, r)
					if content {
						worst = r
					}
				}
			}
		}
	}
	if worst != nil && d.WholeRequest {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				of := partitionOf{i, j}
				if e.refused[of] == nil {
					e.refusePartition(of, &Refusal{Code: worst.Code, Message: d.aboutAnother()})
				}
				e.refused[of].FromZero = d.Listing != ListsNone
			}
		}
	}
	rest := f.without(req, e)
	if len(rest.Topics) == 0 {
		if req.Acks == 0 {
			return nil, f.cut() // Kafka can't answer, since acks is 0
		}
		return nil, f.answer(e, req.ResponseKind())
	}
	if req.Acks != 0 {
		f.wait(e)
	} else if e.after != nil {
		return nil, f.cut()
	}
	return frameOf(e.head, rest), nil
}

// aboutAnother is the text for a partition that is rejected for another partition's
// record.
func (d *Dialect) aboutAnother() string {
	if d.Listing == ListsNone {
		return ""
	}
	return "Invalid record in another topic-partition caused whole ProduceRequest to be invalidated"
}

// lastOfEach returns the partitions of a topic without repeated ones: Kafka appends the
// last one, kfake each of them.
func lastOfEach(all []kmsg.ProduceRequestTopicPartition) []kmsg.ProduceRequestTopicPartition {
	seen := map[int32]bool{}
	var kept []kmsg.ProduceRequestTopicPartition
	for _, p := range slices.Backward(all) {
		if !seen[p.Partition] {
			seen[p.Partition] = true
			kept = append(kept, p)
		}
	}
	slices.Reverse(kept)
	return kept
}

// check returns what the broker has against a partition's records, nil for
// nothing, and whether that is their content or size.
func (f *front) check(name string, p *kmsg.ProduceRequestTopicPartition) (r *Refusal, content bool) {
	c := f.cluster
	topic, ok := c.topic(name)
	if !ok || !c.leads(f.node, name, p.Partition) {
		return nil, false // kfake says so
	}
	id := c.topicID(name)
	if r := c.numbers.check(&c.dialect, id, p.Partition, p.Records); r != nil {
		return r, false
	}
	if r := c.dialect.Check(topic, p.Partition, f.node, p.Records); r != nil {
		return r, true
	}
	if c.producers.skips(&c.dialect, id, p.Partition, p.Records) {
		return &Refusal{Code: kerr.OutOfOrderSequenceNumber}, false
	}
	p.Records, _ = whole(p.Records)
	if topic.text("message.timestamp.type", "CreateTime") == "LogAppendTime" {
		p.Records[crcFrom+1] |= attributeLogAppendTime
		seal(p.Records)
	}
	return nil, false
}

// without returns the request without the partitions that are refused, with
// producer IDs as kfake gets to see them.
func (f *front) without(req *kmsg.ProduceRequest, e *exchange) *kmsg.ProduceRequest {
	c := f.cluster
	rest := *req
	rest.Topics = nil
	for i, t := range req.Topics {
		of := t
		of.Partitions = nil
		for j, p := range t.Partitions {
			if e.refused[partitionOf{i, j}] != nil {
				continue
			}
			if c.dialect.Numbering == NumbersAppended {
				c.producers.rename(&c.dialect, c.topicID(e.names[i]), p.Partition, p.Records)
			} else {
				unnumber(p.Records)
			}
			of.Partitions = append(of.Partitions, p)
		}
		if of.Partitions != nil {
			rest.Topics = append(rest.Topics, of)
		}
	}
	return &rest
}

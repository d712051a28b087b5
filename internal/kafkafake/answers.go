package kafkafake

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refuse rejects the partitions of a produce request that the fault is about.
func (e *exchange) refuse(req *kmsg.ProduceRequest, h *FaultHandle, code *kerr.Error) {
	for i := range req.Topics {
		for j, p := range req.Topics[i].Partitions {
			if h.covers(e.names[i], p.Partition) {
				e.refusePartition(partitionOf{i, j}, &Refusal{Code: code})
			}
		}
	}
}

func (e *exchange) refusePartition(p partitionOf, r *Refusal) {
	if e.refused == nil {
		e.refused = map[partitionOf]*Refusal{}
	}
	e.refused[p] = r
}

// complete adds the rejected partitions to kfake's answer, and changes the codes that a
// Rewrite changes.
func (e *exchange) complete(resp *kmsg.ProduceResponse) {
	req := e.req.(*kmsg.ProduceRequest)
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			e.correct(&resp.Topics[i].Partitions[j])
		}
	}
	if h := e.rewrite; h != nil {
		for i := range resp.Topics {
			t := &resp.Topics[i]
			at := slices.IndexFunc(req.Topics, func(of kmsg.ProduceRequestTopic) bool { return of.Topic == t.Topic && of.TopicID == t.TopicID })
			for j := range t.Partitions {
				if p := &t.Partitions[j]; at >= 0 && h.covers(e.names[at], p.Partition) {
					p.ErrorCode = h.Code.Code
					if !tellsOffset(h.Code) {
						p.BaseOffset, p.LogStartOffset = -1, -1
					}
				}
			}
		}
	}
	for i, t := range req.Topics {
		for j, p := range t.Partitions {
			if r := e.refused[partitionOf{i, j}]; r != nil {
				of := topicOf(resp, t)
				answer := kmsg.NewProduceResponseTopicPartition()
				answer.Partition, answer.ErrorCode, answer.BaseOffset, answer.ErrorRecords = p.Partition, r.Code.Code, -1, r.Listed
				if r.FromZero {
					answer.BaseOffset = 0
				}
				if r.Message != "" {
					answer.ErrorMessage = &r.Message
				}
				of.Partitions = append(of.Partitions, answer)
			}
		}
	}
}

// correct changes kfake's answer for a partition to that of Kafka: with an error no
// offset and no text, with a duplicate a time.
func (e *exchange) correct(p *kmsg.ProduceResponseTopicPartition) {
	switch {
	case p.ErrorCode != 0:
		p.BaseOffset, p.LogStartOffset, p.ErrorMessage = -1, -1, nil
	case p.LogStartOffset < 0 && e.req.GetVersion() >= 5: // as for a duplicate only
		p.LogStartOffset, p.LogAppendTime = 0, e.received.UnixMilli()
	}
}

// tellsOffset reports whether Kafka's answer with this code has the offset. It does if
// the batch was appended, and the error came while Kafka waited for the replicas.
func tellsOffset(code *kerr.Error) bool {
	return code == kerr.NotLeaderForPartition || code == kerr.NotEnoughReplicasAfterAppend || code == kerr.RequestTimedOut
}

// topicOf returns the entry of the answer for a topic of the request.
func topicOf(resp *kmsg.ProduceResponse, t kmsg.ProduceRequestTopic) *kmsg.ProduceResponseTopic {
	for i := range resp.Topics {
		if of := &resp.Topics[i]; of.Topic == t.Topic && of.TopicID == t.TopicID {
			return of
		}
	}
	of := kmsg.NewProduceResponseTopic()
	of.Topic, of.TopicID = t.Topic, t.TopicID
	resp.Topics = append(resp.Topics, of)
	return &resp.Topics[len(resp.Topics)-1]
}

// refusal returns the answer that rejects a request of another kind.
func refusal(req kmsg.Request, code *kerr.Error) kmsg.Response {
	switch req := req.(type) {
	case *kmsg.InitProducerIDRequest:
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode, resp.ProducerID = code.Code, -1
		return resp
	case *kmsg.DescribeConfigsRequest:
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, r := range req.Resources {
			of := kmsg.NewDescribeConfigsResponseResource()
			of.ResourceType, of.ResourceName, of.ErrorCode = r.ResourceType, r.ResourceName, code.Code
			resp.Resources = append(resp.Resources, of)
		}
		return resp
	}
	panic(fmt.Sprintf("no refusal of %s is made", kmsg.NameForKey(req.Key())))
}

// refuseTopics gives each topic of a metadata answer the error code. The brokers stay
// in the answer, since a client closes its connections to brokers that are not.
func refuseTopics(resp *kmsg.MetadataResponse, code *kerr.Error) {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		t.ErrorCode, t.TopicID, t.Partitions = code.Code, [16]byte{}, nil
	}
}

func asksForTopics(req kmsg.Request) bool {
	for _, r := range req.(*kmsg.DescribeConfigsRequest).Resources {
		if r.ResourceType == kmsg.ConfigResourceTypeTopic {
			return true
		}
	}
	return false
}

// tell changes kfake's answer to DescribeConfigs to that of the dialect.
func (d *Dialect) tell(node int32, resp *kmsg.DescribeConfigsResponse) {
	for i := range resp.Resources {
		r := &resp.Resources[i]
		if r.ResourceType != kmsg.ConfigResourceTypeTopic || r.ErrorCode != 0 {
			continue
		}
		for j := range r.Configs {
			c := &r.Configs[j]
			if c.Name == "segment.bytes" && c.Source == kmsg.ConfigSourceDefaultConfig {
				c.Value = kmsg.StringPtr("1073741824") // kfake has another default
			}
			if c.Name == "max.message.bytes" && c.Source != kmsg.ConfigSourceDynamicTopicConfig && d.Limits != nil {
				c.Value, c.Source = kmsg.StringPtr(fmt.Sprint(d.limit(node))), kmsg.ConfigSourceStaticBrokerConfig
			}
		}
		if d.Configs == OfAnother {
			r.Configs = slices.DeleteFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
				return c.Name == "max.message.bytes" || c.Name == "cleanup.policy"
			})
			addConfig(r, "max.message.bytes", "600", kmsg.ConfigSourceDynamicTopicConfig)
			addConfig(r, "cleanup.policy", "compact", kmsg.ConfigSourceDynamicTopicConfig)
		}
		if d.MaxDecompressed > 0 {
			addConfig(r, maxDecompressed, fmt.Sprint(d.MaxDecompressed), kmsg.ConfigSourceStaticBrokerConfig)
		} else if d.Versions == nil {
			addConfig(r, maxDecompressed, "2147483639", kmsg.ConfigSourceDefaultConfig)
		}
		if d.AnyTimestamp {
			r.Configs = slices.DeleteFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
				return c.Name == "message.timestamp.before.max.ms" || c.Name == "message.timestamp.after.max.ms"
			})
		} else {
			if d.Ages != nil {
				addConfig(r, "message.timestamp.before.max.ms", fmt.Sprint(d.age(node)), kmsg.ConfigSourceStaticBrokerConfig)
			}
			addConfig(r, "message.timestamp.before.max.ms", fmt.Sprint(int64(forever)), kmsg.ConfigSourceDefaultConfig)
			addConfig(r, "message.timestamp.after.max.ms", "3600000", kmsg.ConfigSourceDefaultConfig)
		}
		for k, v := range d.ExtraConfigs {
			addConfig(r, k, v, kmsg.ConfigSourceDefaultConfig)
		}
	}
}

// addConfig adds a config, unless the answer has it.
func addConfig(r *kmsg.DescribeConfigsResponseResource, name, value string, source kmsg.ConfigSource) {
	for _, c := range r.Configs {
		if c.Name == name {
			return
		}
	}
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.Source = name, &value, source
	r.Configs = append(r.Configs, c)
}

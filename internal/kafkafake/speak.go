package kafkafake

import (
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Dialect returns the cluster's dialect.
func (c *Cluster) Dialect() *Dialect { return &c.dialect }

// Trouble adds trouble to a cluster that was made by Speak. Troubles befall a
// request in the order in which they were added; of those that say what becomes of
// it, the last one does.
func (c *Cluster) Trouble(t Trouble) *TroubleHandle {
	h := &TroubleHandle{Trouble: t}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.troubles = append(c.troubles, h)
	return h
}

// strike returns the troubles that befall a request.
func (c *Cluster) strike(node int32, req kmsg.Request, names []string) (struck []*TroubleHandle) {
	c.mu.Lock()
	troubles := c.troubles
	c.mu.Unlock()
	for _, h := range troubles {
		if h.strikes(node, req, names) {
			struck = append(struck, h)
		}
	}
	return struck
}

// Away has a node take no connection and lose those that it has, or be back.
func (c *Cluster) Away(node int32, away bool) {
	c.mu.Lock()
	c.away[node] = away
	c.mu.Unlock()
	if away {
		c.cut(node, false)
	}
}

// Cut closes all connections to a node on which there were produce requests.
func (c *Cluster) Cut(node int32) { c.cut(node, true) }

func (c *Cluster) cut(node int32, producing bool) {
	c.mu.Lock()
	var cut []*front
	for f := range c.fronted {
		if f.node == node && (!producing || f.produced.Load()) {
			cut = append(cut, f)
		}
	}
	c.mu.Unlock()
	for _, f := range cut {
		f.Close()
	}
}

// enter notes a connection, unless its node is away.
func (c *Cluster) enter(f *front) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away[f.node] {
		return false
	}
	c.fronted[f] = struct{}{}
	return true
}

func (c *Cluster) leave(f *front) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fronted, f)
}

// names returns the names of a produce request's topics.
func (c *Cluster) names(req *kmsg.ProduceRequest) []string {
	names := make([]string, len(req.Topics))
	for i, t := range req.Topics {
		names[i] = t.Topic
		if t.Topic == "" {
			if info := c.TopicIDInfo(t.TopicID); info != nil {
				names[i] = info.Topic
			}
		}
	}
	return names
}

// topic returns what the brokers judge a topic's batches by.
func (c *Cluster) topic(name string) (Topic, bool) {
	t := Topic{Name: name, Configs: map[string]string{}}
	info := c.TopicInfo(name)
	if info == nil {
		return t, false
	}
	for k, v := range info.Configs {
		if v != nil {
			t.Configs[k] = *v
		}
	}
	return t, true
}

func (c *Cluster) topicID(name string) (id [16]byte) {
	if info := c.TopicInfo(name); info != nil {
		id = info.TopicID
	}
	return id
}

func (c *Cluster) leads(node int32, topic string, partition int32) bool {
	info := c.PartitionInfo(topic, partition)
	return info != nil && info.Leader == node
}

// Condemns returns what the leader of the partition has, by the topic's rules as
// they are now, against a record that is in a batch alone, nil if it takes it.
func (c *Cluster) Condemns(r *kgo.Record, partition int32, compressor kgo.Compressor) *Refusal {
	topic, _ := c.topic(r.Topic)
	leader := int32(0)
	if info := c.PartitionInfo(r.Topic, partition); info != nil {
		leader = info.Leader
	}
	return c.dialect.Alone(topic, partition, leader, r, compressor)
}

package kafkafake

import (
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Dialect returns the cluster's dialect.
func (c *Cluster) Dialect() *Dialect { return &c.dialect }

// AddFault adds a fault to a cluster that StartDialect made. Several faults apply to
// a request in the order in which they were added. If several decide about the
// request itself, the last one counts.
func (c *Cluster) AddFault(t Fault) *FaultHandle {
	h := &FaultHandle{Fault: t}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, h)
	return h
}

// Note makes w note what goes over the connections that are made from now on.
func (c *Cluster) Note(w *Wire) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wire = w
}

// strike returns the faults that apply to a request.
func (c *Cluster) strike(node int32, req kmsg.Request, names []string) (struck []*FaultHandle) {
	c.mu.Lock()
	faults := c.faults
	c.mu.Unlock()
	for _, h := range faults {
		if h.strikes(node, req, names) {
			struck = append(struck, h)
		}
	}
	return struck
}

// Away stops a node: it closes its connections and accepts none. With false the node
// accepts connections again.
func (c *Cluster) Away(node int32, away bool) {
	c.mu.Lock()
	c.away[node] = away
	c.mu.Unlock()
	if away {
		c.disconnect(node, false)
	}
}

// Disconnect closes all connections to a node on which there were produce requests.
func (c *Cluster) Disconnect(node int32) { c.disconnect(node, true) }

func (c *Cluster) disconnect(node int32, producing bool) {
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

// enter adds a connection, unless its node is away.
func (c *Cluster) enter(f *front) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away[f.node] {
		return false
	}
	c.fronted[f] = struct{}{}
	if c.wire != nil {
		conn := c.wire.on(f.Conn)
		conn.keep = true
		f.Conn = brokerConn{conn}
	}
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

// topic returns a topic's name and configs for checking batches.
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

// Rejects returns why the leader of the partition rejects a record that is alone in its
// batch, with the topic's current configs. It is nil if the leader accepts it.
func (c *Cluster) Rejects(r *kgo.Record, partition int32, compressor kgo.Compressor) *Refusal {
	topic, _ := c.topic(r.Topic)
	leader := int32(0)
	if info := c.PartitionInfo(r.Topic, partition); info != nil {
		leader = info.Leader
	}
	return c.dialect.Alone(topic, partition, leader, r, compressor)
}

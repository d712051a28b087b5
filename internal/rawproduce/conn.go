package rawproduce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// timeout is how long an answer may take.
const timeout = time.Minute

// Conn is a connection to a broker, for one request at a time.
type Conn struct {
	conn   net.Conn
	format *kmsg.RequestFormatter
	id     int32
}

// Dial connects to a broker.
func Dial(address string) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &Conn{conn: conn, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("rawproduce"))}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Send writes a request.
func (c *Conn) Send(req kmsg.Request) error {
	c.id++
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write(c.format.AppendRequest(nil, req, c.id))
	return err
}

// Ask writes a request and reads its answer.
func (c *Conn) Ask(req kmsg.Request) (kmsg.Response, error) {
	if err := c.Send(req); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.conn, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.conn, frame); err != nil {
		return nil, err
	}
	if id := int32(binary.BigEndian.Uint32(frame)); id != c.id {
		return nil, fmt.Errorf("an answer to request %d instead of %d", id, c.id)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	body := frame[4:]
	if resp.IsFlexible() {
		body = body[1:] // no tags
	}
	return resp, resp.ReadFrom(body)
}

// Partition is the records that a request has for a partition.
type Partition struct {
	Partition int32
	Records   []byte
}

// Produce sends one produce request, and returns the answer of each partition in
// the order of the answer. Of a version before 13 it names the topic.
func (c *Conn) Produce(version int16, topic string, id [16]byte, partitions ...Partition) ([]kmsg.ProduceResponseTopicPartition, error) {
	resp, err := c.Ask(request(version, -1, topic, id, partitions))
	if err != nil {
		return nil, err
	}
	topics := resp.(*kmsg.ProduceResponse).Topics
	if len(topics) != 1 {
		return nil, fmt.Errorf("an answer for %d topics", len(topics))
	}
	return topics[0].Partitions, nil
}

// Unacked sends one produce request with acks 0, and reports whether the broker
// closes the connection on it.
func (c *Conn) Unacked(version int16, topic string, id [16]byte, partitions ...Partition) (closed bool, err error) {
	if err := c.Send(request(version, 0, topic, id, partitions)); err != nil {
		return false, err
	}
	probe := kmsg.NewPtrMetadataRequest()
	probe.Version, probe.Topics = 9, []kmsg.MetadataRequestTopic{}
	_, err = c.Ask(probe)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return false, err
	}
	return err != nil, nil
}

func request(version, acks int16, topic string, id [16]byte, partitions []Partition) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, id
	for _, of := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = of.Partition, of.Records
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

// NewProducer asks for a producer ID, also of a broker that was started just now
// and still loads what it knows of producers.
func (c *Conn) NewProducer() (int64, error) {
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.ProducerID, req.ProducerEpoch = 4, -1, -1
		resp, err := c.Ask(req)
		if err != nil {
			return 0, err
		}
		got := resp.(*kmsg.InitProducerIDResponse)
		if err = kerr.ErrorForCode(got.ErrorCode); !kerr.IsRetriable(err) || time.Since(begin) > timeout {
			return got.ProducerID, err
		}
	}
}

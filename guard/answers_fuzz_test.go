package guard_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"reflect"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// script is what a fuzzer has a broker do. At its end all is as it should be.
type script struct {
	mu   sync.Mutex
	rest []byte
}

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

// int is a number: a small one, or one at the edge of a type.
func (s *script) int() int64 {
	edges := []int64{-1, 0, 1, math.MinInt16, math.MaxInt16, math.MinInt32, math.MaxInt32, math.MinInt64, math.MaxInt64, 1 << 20}
	b := s.byte()
	if b < 128 {
		return int64(b)
	}
	return edges[int(b)%len(edges)]
}

// take is the next bytes, as many as there are.
func (s *script) take(n int) []byte {
	n = min(n, len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// What is done with an answer.
const (
	asItIs = iota
	otherFields
	otherBytes
	cutShort
	more
	onlyBytes
	otherLength
	otherID
	closed
	mutations
)

// answers is a broker that answers by a script.
type answers struct {
	script *script
	before int64
	peak   atomic.Int64 // of the heap, in bytes, beyond what was in use before
}

func (a *answers) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go a.serve(server)
	return client, nil
}

func (a *answers) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		raw := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, raw); err != nil {
			return
		}
		a.measure()
		answer := a.answer(raw)
		if answer == nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// heap is how much memory is in use, in bytes, with what is garbage by now.
func heap() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) //nolint:gosec // it is memory
}

// begin notes what is in use before, of which go test -fuzz itself has 100 MiB.
func (a *answers) begin() {
	runtime.GC()
	a.before = heap()
}

func (a *answers) measure() {
	now := heap() - a.before
	if now > mostMemory/2 { // of which garbage does not count
		runtime.GC()
		now = heap() - a.before
	}
	for {
		if was := a.peak.Load(); now <= was || a.peak.CompareAndSwap(was, now) {
			return
		}
	}
}

// answer returns an answer with its length and ID, nil to close the connection.
func (a *answers) answer(raw []byte) []byte {
	req, id := request(raw)
	if req == nil {
		return nil
	}
	resp := right(req)
	s := a.script
	s.mu.Lock()
	defer s.mu.Unlock()
	mutation := int(s.byte()) % mutations
	if mutation == otherFields {
		for range 1 + s.byte()%4 {
			s.change(resp)
		}
	}
	body := binary.BigEndian.AppendUint32(nil, id)
	if resp.IsFlexible() && resp.Key() != kmsg.ApiVersions.Int16() {
		body = append(body, 0)
	}
	body = resp.AppendTo(body)
	switch mutation {
	case otherBytes:
		for range 1 + s.byte()%4 {
			at := (int(s.byte())<<8 | int(s.byte())) % len(body)
			copy(body[at:], s.take(1+int(s.byte()%8)))
		}
	case cutShort:
		body = body[:min(len(body), 4+int(s.byte()))]
	case more:
		body = append(body, s.take(int(s.byte()))...)
	case onlyBytes:
		body = append(body[:4], s.take(int(s.byte()))...)
	case otherID:
		body[int(s.byte())%4] ^= 1 + s.byte()
	case closed:
		return nil
	}
	length := uint32(len(body)) //nolint:gosec // it is short
	if mutation == otherLength {
		length = uint32(s.int()) //nolint:gosec // any will do
	}
	return append(binary.BigEndian.AppendUint32(nil, length), body...)
}

// request reads a request, and its ID.
func request(raw []byte) (kmsg.Request, uint32) {
	if len(raw) < 10 {
		return nil, 0
	}
	key, version, id := int16(binary.BigEndian.Uint16(raw)), int16(binary.BigEndian.Uint16(raw[2:])), binary.BigEndian.Uint32(raw[4:]) //nolint:gosec // as they are
	req := kmsg.RequestForKey(key)
	if req == nil {
		return nil, 0
	}
	req.SetVersion(version)
	body := raw[8:]
	if n := int16(binary.BigEndian.Uint16(body)); n > 0 { //nolint:gosec // -1 is null
		body = body[n:]
	}
	body = body[2:]
	if req.IsFlexible() {
		body = body[1:]
	}
	if req.ReadFrom(body) != nil {
		return nil, 0
	}
	return req, id
}

// right is what a broker with one topic of three partitions answers.
func right(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	topicID := [16]byte{1}
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Metadata, kmsg.ApiVersions, kmsg.InitProducerID, kmsg.DescribeConfigs} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = key.Int16(), kmsg.RequestForKey(key.Int16()).MaxVersion()
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
	case *kmsg.MetadataResponse:
		b := kmsg.NewMetadataResponseBroker()
		b.Host, b.Port = "broker", 9092
		resp.Brokers = append(resp.Brokers, b)
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.TopicID = kmsg.StringPtr("t"), topicID
		for n := range int32(3) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Replicas, p.ISR = n, []int32{0}, []int32{0}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID = 7
	case *kmsg.DescribeConfigsResponse:
		r := kmsg.NewDescribeConfigsResponseResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		for name, value := range map[string]string{"max.message.bytes": "100000", "cleanup.policy": "delete"} {
			c := kmsg.NewDescribeConfigsResponseResourceConfig()
			c.Name, c.Value = name, kmsg.StringPtr(value)
			r.Configs = append(r.Configs, c)
		}
		resp.Resources = append(resp.Resources, r)
	case *kmsg.ProduceResponse:
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
				e.ErrorMessage = kmsg.StringPtr("no")
				rp.ErrorRecords = append(rp.ErrorRecords, e)
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	}
	return resp
}

// change gives one field of a message another value.
func (s *script) change(message any) {
	var all []reflect.Value
	fields(reflect.ValueOf(message).Elem(), &all)
	if len(all) == 0 {
		return
	}
	v := all[(int(s.byte())<<8|int(s.byte()))%len(all)]
	switch v.Kind() { //nolint:exhaustive // messages have no others
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(s.int())
	case reflect.String:
		v.SetString(strings.Repeat(string(s.take(int(s.byte()%16))), 1+int(s.byte())))
	case reflect.Pointer:
		v.SetZero()
	case reflect.Array:
		v.SetZero()
	case reflect.Slice:
		switch n := v.Len(); {
		case n == 0:
			v.SetZero()
		case s.byte()%2 == 0:
			v.Set(v.Slice(0, int(s.byte())%n))
		default:
			for range s.byte() {
				v.Set(reflect.Append(v, v.Index(0)))
			}
		}
	}
}

// fields lists what of a message may have another value.
func fields(v reflect.Value, all *[]reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" {
				fields(v.Field(i), all)
			}
		}
	case reflect.Pointer:
		*all = append(*all, v)
		if !v.IsNil() {
			fields(v.Elem(), all)
		}
	case reflect.Slice:
		*all = append(*all, v)
		for i := range v.Len() {
			fields(v.Index(i), all)
		}
	default:
		*all = append(*all, v)
	}
}

// mostMemory is what a broker may cost, whatever it answers, in bytes.
const mostMemory = 64 << 20

// write writes some records by way of a broker that answers by a script, and returns how
// much memory was in use at most.
func (a *answers) write(t *testing.T) int64 {
	t.Helper()
	a.begin()
	g, err := guard.New(guard.Config{},
		kgo.SeedBrokers("broker:9092"), kgo.Dialer(a.dial),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.RequestRetries(2), kgo.RecordRetries(2), kgo.UnknownTopicRetries(1), kgo.RequestTimeoutOverhead(100*time.Millisecond),
	)
	require.NoError(t, err)
	defer g.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for range 2 {
		records := make([]*kgo.Record, 5)
		for i := range records {
			records[i] = &kgo.Record{Topic: "t", Value: fmt.Append(nil, i)}
		}
		verdicts := g.Write(ctx, records)
		require.Len(t, verdicts, len(records))
		for _, v := range verdicts {
			require.Equal(t, v.Outcome == guard.Delivered, v.Failure == nil)
		}
	}
	_ = g.Rules(ctx, "t")
	a.measure()
	return a.peak.Load()
}

// FuzzBrokerAnswers has a broker answer anything: other fields, counts, lengths, nulls and
// versions, or bytes that are no answer at all. Guard neither panics nor needs much memory.
func FuzzBrokerAnswers(f *testing.F) {
	f.Add([]byte{})
	for mutation := range byte(mutations) {
		for before := range 5 { // answers that are right
			for _, value := range []byte{0, 1, 60, 128, 129, 133, 134, 200, 255} {
				f.Add(append(make([]byte, before), mutation, value, 0, value, value, 0, value, 7, value, 1, 3, value))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := &answers{script: &script{rest: b}}
		require.Less(t, a.write(t), int64(mostMemory))
	})
}

// An answer that claims to be long costs nothing before it is there: kgo reads
// none that is longer than kgo.BrokerMaxReadBytes, and makes room for others at once.
func TestClaimedLengthsCostLittle(t *testing.T) {
	for _, length := range []uint32{99 << 20, 17 << 20, 1 << 30} {
		a := &claims{length: length}
		require.Less(t, a.write(t), int64(mostMemory), "%d", length)
		require.NotZero(t, a.said.Load())
	}
}

// claims is a broker whose answers claim a length, and have none.
type claims struct {
	answers
	length uint32
	said   atomic.Int64
}

func (c *claims) write(t *testing.T) int64 {
	t.Helper()
	c.begin()
	g, err := guard.New(guard.Config{}, kgo.SeedBrokers("broker:9092"), kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			if _, err := server.Read(make([]byte, 4096)); err != nil {
				return
			}
			c.said.Add(1)
			_, _ = server.Write(binary.BigEndian.AppendUint32(nil, c.length))
			time.Sleep(time.Millisecond)
			c.measure()
		}()
		return client, nil
	}))
	require.NoError(t, err)
	defer g.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	g.Write(ctx, []*kgo.Record{{Topic: "t"}})
	c.measure()
	return c.peak.Load()
}

package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// client returns a client of a new broker with the topic "t".
func client(t *testing.T, opts ...kgo.Opt) (*kgo.Client, *kafkafake.Cluster) {
	t.Helper()
	c := kafkafake.New(t, kfake.SeedTopics(1, "t"))
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...),
		kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	require.NoError(t, cl.Ping(t.Context()))
	return cl, c
}

// ownRequest is a Produce request of a type that kgo does not know, with its answer. It
// records the order in which kgo writes and reads.
type ownRequest struct {
	kmsg.ProduceRequest
	n     int
	order *order
}

type order struct {
	mu            sync.Mutex
	written, read []int
}

func (r *ownRequest) AppendTo(dst []byte) []byte {
	r.order.mu.Lock()
	r.order.written = append(r.order.written, r.n)
	r.order.mu.Unlock()
	return r.ProduceRequest.AppendTo(dst)
}

func (r *ownRequest) ResponseKind() kmsg.Response {
	a := &ownAnswer{request: r}
	a.Version = r.Version
	return a
}

type ownAnswer struct {
	kmsg.ProduceResponse
	request *ownRequest
}

func (a *ownAnswer) ReadFrom(src []byte) error {
	o := a.request.order
	o.mu.Lock()
	o.read = append(o.read, a.request.n)
	o.mu.Unlock()
	return a.ProduceResponse.ReadFrom(src)
}

// guard/internal/broker chooses and numbers the batches of a request in its AppendTo, and
// reads the answer in ReadFrom.
func TestRequestsAreWrittenAndAnsweredInOneOrder(t *testing.T) {
	t.Parallel()
	cl, _ := client(t)
	var o order
	var wg sync.WaitGroup
	for n := range 200 {
		req := &ownRequest{n: n, order: &o}
		req.Version, req.Acks, req.TimeoutMillis = 9, -1, 1000
		wg.Go(func() {
			_, err := cl.Broker(0).Request(context.Background(), req)
			if err != nil {
				t.Errorf("request %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	require.Len(t, o.written, 200, "kgo no longer calls AppendTo once for each request that it writes: batches must be chosen before Request, with one request in flight to a broker (guard/internal/broker/request.go)")
	require.Equal(t, o.written, o.read, "kgo no longer reads answers in the order in which it wrote requests: guard/internal/partition is still right with one batch of a partition in flight, but guard/internal/broker/request.go says otherwise")
}

// guard/internal/broker/node.go takes a request as not done if its last byte was not
// written. OnBrokerWrite tells it, before the error.
func TestTheHookTellsOfAWriteBeforeTheError(t *testing.T) {
	t.Parallel()
	hook := &writes{}
	cl, c := client(t, kgo.WithHooks(hook))
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, errors.New("cut"), true })
	req := &ownRequest{order: &order{}}
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 1000
	_, err := cl.Broker(0).Request(t.Context(), req)
	require.Error(t, err)
	hook.mu.Lock()
	defer hook.mu.Unlock()
	require.Equal(t, 1, hook.seen, "kgo no longer tells OnBrokerWrite of a request before its error: every request without an answer must count as sent (guard/internal/broker/node.go)")
}

type writes struct {
	mu   sync.Mutex
	seen int
}

func (w *writes) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if key == 0 {
		w.seen++
	}
}

// guard/internal/producer/metadata.go asks for metadata itself. kgo then knows the
// brokers of the answer.
func TestAMetadataRequestTeachesTheClientItsBrokers(t *testing.T) {
	t.Parallel()
	cl, c := client(t)
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("t")
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Len(t, resp.Brokers, len(c.ListenAddrs()))
	for _, b := range resp.Brokers {
		_, err := cl.Broker(int(b.NodeID)).Request(t.Context(), kmsg.NewPtrApiVersionsRequest())
		require.NoError(t, err, "kgo does not know broker %d after a metadata request: guard/internal/producer/metadata.go has to teach it", b.NodeID)
	}
}

// guard/settings.go reads the caller's options by their values.
func TestOptionsAreReadByTheirValues(t *testing.T) {
	t.Parallel()
	cl, _ := client(t, kgo.WithHooks(&writes{}))
	for name, value := range map[string]any{
		"RequiredAcks":                        cl.OptValue(kgo.RequiredAcks),
		"ProduceRequestTimeout":               cl.OptValue(kgo.ProduceRequestTimeout),
		"RecordRetries":                       cl.OptValue(kgo.RecordRetries),
		"RecordDeliveryTimeout":               cl.OptValue(kgo.RecordDeliveryTimeout),
		"UnknownTopicRetries":                 cl.OptValue(kgo.UnknownTopicRetries),
		"MaxProduceRequestsInflightPerBroker": cl.OptValue(kgo.MaxProduceRequestsInflightPerBroker),
		"MetadataMinAge":                      cl.OptValue(kgo.MetadataMinAge),
		"RetryBackoffFn":                      cl.OptValue(kgo.RetryBackoffFn),
		"AllowAutoTopicCreation":              cl.OptValue(kgo.AllowAutoTopicCreation),
		"WithHooks":                           cl.OptValue(kgo.WithHooks),
	} {
		want := map[string]string{
			"RequiredAcks": "kgo.Acks", "ProduceRequestTimeout": "time.Duration", "RecordRetries": "int64", "RecordDeliveryTimeout": "time.Duration",
			"UnknownTopicRetries": "int64", "MaxProduceRequestsInflightPerBroker": "int", "MetadataMinAge": "time.Duration",
			"RetryBackoffFn": "func(int) time.Duration", "AllowAutoTopicCreation": "bool", "WithHooks": "[]kgo.Hook",
		}[name]
		require.Equal(t, want, fmt.Sprintf("%T", value), "the value of kgo.%s has another type: read it anew in guard/settings.go", name)
	}
}

package broker

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
)

// request is a produce request. kgo calls AppendTo when it writes it, one after the
// other for each broker: only then are its batches chosen and numbered, so that they
// leave in the order of their numbers. It calls the answer's ReadFrom in the order of
// the answers: TestRequestsAreWrittenAndAnsweredInOneOrder in package upstream holds that.
type request struct {
	node    *Node
	ready   Partition // that it is made for
	version int16
	bound   bool
	written time.Time // for the first time
	size    int       // of the batches
	end     int       // of all, as written
	topics  int
	batches []Entry
	alone   bool // it has one batch
	at      int  // of the batch to be answered next
	unsent  atomic.Bool
	over    atomic.Bool
}

func (r *request) do() {
	if r.node.shared.Acks == 0 {
		r.doWithoutAck()
		return
	}
	if _, err := r.node.broker.Request(r.node.shared.Life, r); err != nil {
		r.lost(err)
	}
}

// bind decides what is in the request.
func (r *request) bind() {
	n := r.node
	r.bound, r.written = true, time.Now()
	n.mu.Lock()
	n.unbound = false
	if r.over.Load() {
		n.mu.Unlock()
		return
	}
	ready := n.ready
	n.ready = nil
	n.mu.Unlock()
	most := min(n.shared.MaxRequest, n.sizes.limit()) - requestOverhead
	r.batches = make([]Entry, 0, len(ready)+1)
	var left []Partition
	full := false
	for _, p := range slices.Insert(ready, 0, r.ready) {
		if full {
			left = append(left, p)
			continue
		}
		b, came := p.Take(n, most-r.size, len(r.batches) == 0)
		switch came {
		case Nothing:
		case NoRoom:
			left = append(left, p)
		case Taken:
			r.batches = append(r.batches, b)
			r.size += b.Size
			full = b.Alone || r.size >= most
		}
	}
	if len(left) > 0 {
		n.mu.Lock()
		n.ready = append(left, n.ready...)
		n.mu.Unlock()
	}
	sorted := func(a, b Entry) int { return cmp.Compare(a.Topic.Name, b.Topic.Name) }
	if !slices.IsSortedFunc(r.batches, sorted) {
		slices.SortStableFunc(r.batches, sorted)
	}
	r.alone = len(r.batches) == 1
	var last *Topic
	for _, b := range r.batches {
		if b.Topic != last {
			last = b.Topic
			r.topics++
		}
	}
}

// requestOverhead is what a request has besides its batches, at most.
const requestOverhead = 512

// Key is that of Produce.
func (*request) Key() int16 { return 0 }

// MaxVersion is the last version without topic IDs, where a topic has none.
func (r *request) MaxVersion() int16 {
	if r.node.shared.nameOnly.Load() {
		return 12
	}
	return 13
}

func (r *request) SetVersion(v int16)  { r.version = v }
func (r *request) GetVersion() int16   { return r.version }
func (r *request) IsFlexible() bool    { return r.version >= 9 }
func (r *request) Timeout() int32      { return int32(r.node.shared.Timeout.Milliseconds()) }
func (*request) ReadFrom([]byte) error { return errors.New("a request is only written") }

func (r *request) ResponseKind() kmsg.Response {
	a := &answer{request: r}
	a.Version = r.version
	return a
}

// AppendTo writes the request.
func (r *request) AppendTo(dst []byte) []byte {
	if !r.bound {
		r.bind()
	}
	n := r.node
	n.writing.Lock()
	n.writing.requests = append(n.writing.requests, r)
	n.writing.Unlock()
	r.unsent.Store(false)
	dst = slices.Grow(dst, r.size+r.topics*270+32)
	flexible := r.IsFlexible()
	length := func(n int) {
		if flexible {
			dst = kbin.AppendCompactArrayLen(dst, n)
		} else {
			dst = kbin.AppendArrayLen(dst, n)
		}
	}
	tags := func() {
		if flexible {
			dst = append(dst, 0)
		}
	}
	switch { // no transactional ID
	case flexible:
		dst = kbin.AppendCompactNullableString(dst, nil)
	case r.version >= 3:
		dst = kbin.AppendNullableString(dst, nil)
	}
	dst = kbin.AppendInt16(dst, n.shared.Acks)
	dst = kbin.AppendInt32(dst, r.Timeout())
	length(r.topics)
	for from := 0; from < len(r.batches); {
		t := r.batches[from].Topic
		to := from
		for to < len(r.batches) && r.batches[to].Topic == t {
			to++
		}
		var id [16]byte
		switch {
		case r.version >= 13:
			id = t.ID()
			dst = append(dst, id[:]...)
		case flexible:
			dst = kbin.AppendCompactString(dst, t.Name)
		default:
			dst = kbin.AppendString(dst, t.Name)
		}
		length(to - from)
		for i := range r.batches[from:to] {
			b := &r.batches[from+i]
			b.topicID = id
			dst = kbin.AppendInt32(dst, b.Partition)
			dst = b.AppendTo(dst, r.version, id)
			tags()
		}
		tags()
		from = to
	}
	tags()
	r.end = len(dst)
	n.mu.Lock()
	more := len(n.ready) > 0
	n.mu.Unlock()
	if more {
		go n.Kick() // what could not go into this one
	}
	return dst
}

// answer is the answer to a request.
type answer struct {
	kmsg.ProduceResponse
	request *request
}

// ReadFrom reads the answer, and deals with it.
func (a *answer) ReadFrom(src []byte) error {
	if err := a.ProduceResponse.ReadFrom(src); err != nil {
		return err
	}
	a.request.answered(&a.ProduceResponse)
	return nil
}

func (r *request) answered(a *kmsg.ProduceResponse) {
	if r.over.Swap(true) {
		return
	}
	r.node.sizes.answered(r.end)
	r.node.mu.Lock()
	r.node.reading++
	r.node.heard(time.Since(r.written))
	r.node.mu.Unlock()
	for i := range a.Topics {
		t := &a.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			b := r.batch(t, p.Partition)
			switch {
			case b == nil:
			case p.ErrorCode == 0:
				b.Acked(p.BaseOffset, p.LogAppendTime)
			default:
				b.Answered(r.answerOf(p))
			}
		}
	}
	for _, b := range r.batches {
		if b.Batch != nil {
			b.Lost(true, Answer{Err: errMissing, Alone: r.alone})
		}
	}
	r.node.mu.Lock()
	r.node.reading--
	r.node.mu.Unlock()
	r.done(true)
}

func (r *request) answerOf(p *kmsg.ProduceResponseTopicPartition) Answer {
	a := Answer{Code: p.ErrorCode, Alone: r.alone, Offset: p.BaseOffset >= 0 && p.LogStartOffset >= 0}
	if p.ErrorMessage != nil {
		a.Message = *p.ErrorMessage
	}
	for i := range p.ErrorRecords {
		e := &p.ErrorRecords[i]
		re := RecordError{Index: int(e.RelativeOffset)}
		if e.ErrorMessage != nil {
			re.Text = *e.ErrorMessage
		}
		a.RecordErrors = append(a.RecordErrors, re)
	}
	return a
}

var errMissing = errors.New("the broker's answer does not mention the partition")

// batch takes out the batch that an answer is for.
func (r *request) batch(t *kmsg.ProduceResponseTopic, partition int32) Batch {
	is := func(e Entry) bool {
		return e.Batch != nil && e.Partition == partition && (r.version >= 13 && e.topicID == t.TopicID || r.version < 13 && e.Topic.Name == t.Topic)
	}
	n := r.at
	if n >= len(r.batches) || !is(r.batches[n]) {
		if n = slices.IndexFunc(r.batches, is); n < 0 {
			return nil
		}
	}
	r.at = n + 1
	b := r.batches[n].Batch
	r.batches[n].Batch = nil
	return b
}

// lost deals with a request that has no answer.
func (r *request) lost(err error) {
	if r.over.Swap(true) {
		return
	}
	r.node.shared.Lost()
	if !r.bound { // kgo never got to write it
		r.node.mu.Lock()
		r.node.unbound = false
		r.node.mu.Unlock()
		if !code.OfError(err).Retry {
			r.ready.Refused(err)
		} else {
			r.ready.Trouble(err)
			r.node.mu.Lock()
			r.node.ready = append(r.node.ready, r.ready)
			r.node.mu.Unlock()
		}
		r.done(false)
		return
	}
	sent := !r.unsent.Load()
	a := Answer{Err: err, Alone: r.alone}
	if connectionClosed(err) {
		a.Cut = r.node.sizes.cut(r.end)
	}
	for _, b := range r.batches {
		if b.Batch != nil {
			b.Lost(sent, a)
		}
	}
	r.done(true)
}

// doWithoutAck sends a request that no answer comes to (acks none).
func (r *request) doWithoutAck() {
	r.bind()
	req := kmsg.NewPtrProduceRequest()
	req.Acks = 0
	for from := 0; from < len(r.batches); {
		t := kmsg.NewProduceRequestTopic()
		of := r.batches[from].Topic
		t.Topic, t.TopicID = of.Name, of.ID()
		for ; from < len(r.batches) && r.batches[from].Topic == of; from++ {
			b := r.batches[from]
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = b.Partition
			p.Records = b.AppendTo(nil, 8, [16]byte{})[4:] // the last version whose lengths have four bytes
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	if len(r.batches) > 0 {
		if _, err := r.node.broker.Request(r.node.shared.Life, req); err != nil {
			r.lost(err)
			return
		}
	}
	r.over.Store(true)
	for _, b := range r.batches {
		b.Acked(-1, -1)
	}
	r.done(true)
}

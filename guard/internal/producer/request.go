package producer

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
	node    *node
	ready   *partition // that it is made for
	version int16
	bound   bool
	written time.Time // for the first time
	size    int       // of the batches
	end     int       // of all, as written
	topics  int
	batches []*Batch
	alone   bool // it has one batch
	at      int  // of the batch to be answered next
	unsent  atomic.Bool
	over    atomic.Bool
}

func (r *request) do() {
	all := r.node.all
	if all.cfg.Acks == 0 {
		r.doWithoutAck()
		return
	}
	if _, err := r.node.broker.Request(all.life, r); err != nil {
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
	most := min(n.all.cfg.MaxRequest, n.sizes.limit()) - requestOverhead
	r.batches = make([]*Batch, 0, len(ready)+1)
	var left []*partition
	full := false
	for _, p := range slices.Insert(ready, 0, r.ready) {
		if full {
			left = append(left, p)
			continue
		}
		b, came := p.take(n, most-r.size, len(r.batches) == 0)
		switch came {
		case nothing:
		case noRoom:
			left = append(left, p)
		case taken:
			r.batches = append(r.batches, b)
			r.size += b.size + p.inRequest()
			full = b.Alone || r.size >= most
		}
	}
	if len(left) > 0 {
		n.mu.Lock()
		n.ready = append(left, n.ready...)
		n.mu.Unlock()
	}
	sorted := func(a, b *Batch) int { return cmp.Compare(a.Topic, b.Topic) }
	if !slices.IsSortedFunc(r.batches, sorted) {
		slices.SortStableFunc(r.batches, sorted)
	}
	r.alone = len(r.batches) == 1
	var last *topic
	for _, b := range r.batches {
		if b.of.topic != last {
			last = b.of.topic
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
	if r.node.all.nameOnly.Load() {
		return 12
	}
	return 13
}

func (r *request) SetVersion(v int16)  { r.version = v }
func (r *request) GetVersion() int16   { return r.version }
func (r *request) IsFlexible() bool    { return r.version >= 9 }
func (r *request) Timeout() int32      { return int32(r.node.all.cfg.Timeout.Milliseconds()) }
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
	cfg := &n.all.cfg
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
	dst = kbin.AppendInt16(dst, cfg.Acks)
	dst = kbin.AppendInt32(dst, r.Timeout())
	length(r.topics)
	for from := 0; from < len(r.batches); {
		t := r.batches[from].of.topic
		to := from
		for to < len(r.batches) && r.batches[to].of.topic == t {
			to++
		}
		switch {
		case r.version >= 13:
			id := t.id.Load()
			dst = append(dst, id[:]...)
		case flexible:
			dst = kbin.AppendCompactString(dst, t.name)
		default:
			dst = kbin.AppendString(dst, t.name)
		}
		length(to - from)
		for _, b := range r.batches[from:to] {
			if b.topicID = ([16]byte{}); r.version >= 13 {
				b.topicID = t.id.Load()
			}
			dst = kbin.AppendInt32(dst, b.Partition)
			dst = b.appendTo(dst, flexible, cfg.Compressor, r.version)
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
		go n.kick() // what could not go into this one
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
				b.of.acked(b, p.BaseOffset, p.LogAppendTime)
			default:
				b.of.answered(b, r.answerOf(p))
			}
		}
	}
	for _, b := range r.batches {
		if b != nil {
			b.of.lost(b, true, Answer{Err: errMissing, Alone: r.alone})
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
func (r *request) batch(t *kmsg.ProduceResponseTopic, partition int32) *Batch {
	is := func(b *Batch) bool {
		return b != nil && b.Partition == partition && (r.version >= 13 && b.topicID == t.TopicID || r.version < 13 && b.Topic == t.Topic)
	}
	n := r.at
	if n >= len(r.batches) || !is(r.batches[n]) {
		if n = slices.IndexFunc(r.batches, is); n < 0 {
			return nil
		}
	}
	r.at = n + 1
	b := r.batches[n]
	r.batches[n] = nil
	return b
}

// lost deals with a request that has no answer.
func (r *request) lost(err error) {
	if r.over.Swap(true) {
		return
	}
	all := r.node.all
	all.meta.want(everyTopic) // others may be led by a broker that is away, too
	if !r.bound {             // kgo never got to write it
		r.node.mu.Lock()
		r.node.unbound = false
		r.node.mu.Unlock()
		r.ready.trouble.Store(&err)
		if !code.OfError(err).Retry {
			r.ready.refused(err)
		} else {
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
		if b != nil {
			b.of.lost(b, sent, a)
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
		of := r.batches[from].of.topic
		t.Topic, t.TopicID = of.name, of.id.Load()
		for ; from < len(r.batches) && r.batches[from].of.topic == of; from++ {
			b := r.batches[from]
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = b.Partition
			records := b.appendTo(nil, false, r.node.all.cfg.Compressor, 13)
			p.Records = records[4:]
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	if len(r.batches) > 0 {
		if _, err := r.node.broker.Request(r.node.all.life, req); err != nil {
			r.lost(err)
			return
		}
	}
	r.over.Store(true)
	for _, b := range r.batches {
		b.of.acked(b, -1, -1)
	}
	r.done(true)
}

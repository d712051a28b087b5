package wire

import (
	"encoding/binary"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	requestHead = 12 // length, key, version, correlation ID
	answerHead  = 8  // length, correlation ID
	batchHead   = 61 // of a v2 record batch: from the base offset to the record count
)

// request is a request that waits for its answer.
type request struct {
	key, version int16
	size         int
	wroteAt      time.Time
	produce      *kmsg.ProduceRequest // until it is written
	flights      []*flight
	next         int               // of the flights, to be answered
	index        map[Partition]int // of the flights, once an answer has another order
}

// flight takes out the batch for a partition, nil if there is none. The answer may have
// the order of the request, or any other.
func (r *request) flight(to Partition) *flight {
	at := r.next
	if r.index == nil && (at == len(r.flights) || r.flights[at].Partition != to) {
		r.index = make(map[Partition]int, len(r.flights))
		for n := at; n < len(r.flights); n++ {
			r.index[r.flights[n].Partition] = n
		}
	}
	if r.index != nil {
		var ok bool
		if at, ok = r.index[to]; !ok {
			return nil
		}
	}
	r.next++
	f := r.flights[at]
	r.flights[at] = nil
	return f
}

// readRequest reads a request to follow. It returns false for any other.
func (l *Log) readRequest(p []byte) (id int32, r *request, follow bool) {
	if len(p) < requestHead {
		return 0, nil, false
	}
	r = &request{
		key:     int16(binary.BigEndian.Uint16(p[4:])),
		version: int16(binary.BigEndian.Uint16(p[6:])),
		size:    len(p),
	}
	id = int32(binary.BigEndian.Uint32(p[8:]))
	switch kmsg.Key(r.key) {
	case kmsg.Metadata, kmsg.InitProducerID:
		return id, r, true
	case kmsg.Produce:
		r.produce = &kmsg.ProduceRequest{Version: r.version}
		body := bodyAt(p, r.produce)
		if body < 0 || r.produce.ReadFrom(p[body:]) != nil || r.produce.Acks == 0 {
			return 0, nil, false
		}
		return id, r, true
	}
	return 0, nil, false
}

// bodyAt returns where the body of a request begins: behind the client ID and the
// tags of a flexible version (KIP-482; kgo sends none), -1 if it has none.
func bodyAt(p []byte, r kmsg.Request) int {
	at := requestHead + 2
	if len(p) < at {
		return -1
	}
	if n := int16(binary.BigEndian.Uint16(p[requestHead:])); n > 0 {
		at += int(n)
	}
	if r.IsFlexible() {
		at++
	}
	if len(p) < at {
		return -1
	}
	return at
}

// written returns the bytes of a request with what is left of its partitions.
func (r *request) written(p []byte) []byte {
	body := bodyAt(p, r.produce)
	out := r.produce.AppendTo(append(make([]byte, 0, len(p)), p[:body]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// readFlight reads the head of a partition's batch.
func readFlight(p Partition, records []byte) flight {
	f := flight{Partition: p, position: position{-1, -1, -1}, bytes: len(records)}
	if len(records) >= batchHead && records[16] == 2 {
		f.producer = int64(binary.BigEndian.Uint64(records[43:]))
		f.epoch = int16(binary.BigEndian.Uint16(records[51:]))
		f.sequence = int32(binary.BigEndian.Uint32(records[53:]))
		if f.producer < 0 { // kgo numbers batches also without a producer ID
			f.sequence = -1
		}
		f.records = int(int32(binary.BigEndian.Uint32(records[57:])))
	}
	return f
}

func (l *Log) topic(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return l.name(id)
}

// learn keeps the names of topics by their IDs: produce v13 and later (KIP-516)
// carry IDs alone. kgo holds on to the first ID that it hears of a topic, and gives
// up all that it has for the topic when it hears another.
func (l *Log) learn(meta *kmsg.MetadataResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range meta.Topics {
		t := &meta.Topics[i]
		if t.Topic == nil || t.TopicID == [16]byte{} {
			continue
		}
		l.topics[t.TopicID] = *t.Topic
		if first, ok := l.ids[*t.Topic]; !ok {
			l.ids[*t.Topic] = t.TopicID
		} else if first != t.TopicID {
			l.abandon(func(p Partition) bool { return p.Topic == *t.Topic })
		}
	}
}

// abandon notes that kgo gives up what is under way to some of the partitions.
func (l *Log) abandon(where func(Partition) bool) {
	for p, h := range l.partitions {
		if where(p) {
			h.abandon()
		}
	}
}

// readAnswer reads what follows the correlation ID of an answer: the tags of a
// flexible version (brokers send none), the answer.
func readAnswer(p []byte, r kmsg.Response) bool {
	if r.IsFlexible() {
		if len(p) == 0 || p[0] != 0 {
			return false
		}
		p = p[1:]
	}
	return r.ReadFrom(p) == nil
}

// appendAnswer writes what readAnswer reads.
func appendAnswer(dst []byte, r kmsg.Response) []byte {
	if r.IsFlexible() {
		dst = append(dst, 0)
	}
	return r.AppendTo(dst)
}

package producer

import (
	"context"
	"math"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/code"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/recordbatch"
)

// ids hands out producer IDs.
type ids struct {
	producer *Producer

	mu      sync.Mutex
	shared  recordbatch.ProducerID
	have    bool
	asking  bool
	waiting []*partition.Partition // for the shared one
}

// Common returns the ID that partitions share, see partition.IDs.
func (i *ids) Common(p *partition.Partition) (recordbatch.ProducerID, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.have {
		return i.shared, true
	}
	i.waiting = append(i.waiting, p)
	if !i.asking {
		i.asking = true
		go i.askShared()
	}
	return recordbatch.NoProducer, false
}

// renew gives another producer ID to the partitions that ask from now on.
func (i *ids) renew() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.have = false
}

func (i *ids) askShared() {
	id, a := i.ask()
	i.mu.Lock()
	i.asking = false
	if a == nil {
		i.shared, i.have = id, true
	}
	waiting := i.waiting
	i.waiting = nil
	i.mu.Unlock()
	for _, p := range waiting {
		p.GotID(id, a)
	}
}

// Own asks for an ID that no other partition has.
func (i *ids) Own(p *partition.Partition) {
	go func() { p.GotID(i.ask()) }()
}

// ask asks for a producer ID until there is an answer that a retry would not change.
func (i *ids) ask() (recordbatch.ProducerID, *broker.Answer) {
	p := i.producer
	for n := 0; ; n++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis = math.MaxInt32
		ctx, cancel := context.WithTimeout(p.life, askWait)
		resp, err := req.RequestWith(ctx, p.cfg.Client)
		cancel()
		if p.life.Err() != nil {
			return recordbatch.NoProducer, &broker.Answer{Err: partition.ErrClosed, Producer: true}
		}
		switch {
		case err == nil && resp.ErrorCode == 0:
			return recordbatch.ProducerID{ID: resp.ProducerID, Epoch: resp.ProducerEpoch}, nil
		case err == nil:
			if !code.Of(resp.ErrorCode).Retry {
				return recordbatch.NoProducer, &broker.Answer{Code: resp.ErrorCode, Err: code.Error(resp.ErrorCode), Producer: true}
			}
			err = code.Error(resp.ErrorCode)
		case !code.OfError(err).Retry:
			return recordbatch.NoProducer, &broker.Answer{Err: err, Producer: true}
		}
		p.trouble.CompareAndSwap(nil, &err)
		if !sleep(p.life, p.cfg.Backoff(n+1)) {
			return recordbatch.NoProducer, &broker.Answer{Err: partition.ErrClosed, Producer: true}
		}
	}
}

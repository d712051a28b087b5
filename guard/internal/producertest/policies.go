package producertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
	"github.com/kafka-guarded/kafka-guarded/guard/internal/partition"
)

// SameAfter has everything sent again after a pause, but what is rejected for its content.
func SameAfter(pause time.Duration) PolicyFunc {
	return func(b *partition.Batch, a broker.Answer) partition.Plan {
		if errors.Is(a.Err, kerr.InvalidRecord) {
			return FailAll(b, a)
		}
		return partition.Plan{Same: true, Pause: pause}
	}
}

// FailsOnceAnswered fails a batch for the first answer to it, and nothing else is sent then.
var FailsOnceAnswered = PolicyFunc(func(b *partition.Batch, a broker.Answer) partition.Plan {
	if a.Code == 0 {
		return partition.Plan{Same: true}
	}
	plan := FailAll(b, a)
	plan.Pause = time.Hour
	return plan
})

// FailAll fails all records of a batch.
func FailAll(b *partition.Batch, a broker.Answer) (plan partition.Plan) {
	for _, r := range b.Records {
		plan.Failed = append(plan.Failed, partition.Failed{Record: r, Reason: a.Err})
	}
	return plan
}

// Plain is a Policy that sends everything again as it is, and fails what a broker rejects
// for good.
type Plain struct {
	mu    sync.Mutex
	asked []broker.Answer
}

// Asked returns the answers about which the Policy was asked.
func (p *Plain) Asked() []broker.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// Acked is that of a Policy.
func (*Plain) Acked(*partition.Batch) {}

// Check lets every record be sent.
func (*Plain) Check(*partition.Record, int32) error { return nil }

// Next is that of a Policy.
func (p *Plain) Next(_ context.Context, b *partition.Batch, a broker.Answer) (plan partition.Plan) {
	p.mu.Lock()
	p.asked = append(p.asked, a)
	p.mu.Unlock()
	var e *kerr.Error
	if errors.As(a.Err, &e) && !e.Retriable && e != kerr.OutOfOrderSequenceNumber && e != kerr.UnknownServerError || a.NoPartition {
		for _, r := range b.Records {
			plan.Failed = append(plan.Failed, partition.Failed{Record: r, Reason: errors.New("rejected")})
		}
		return plan
	}
	return partition.Plan{Same: true, Pause: time.Millisecond}
}

// PolicyFunc is a Policy of one function.
type PolicyFunc func(*partition.Batch, broker.Answer) partition.Plan

// Acked is that of a Policy.
func (PolicyFunc) Acked(*partition.Batch) {}

// Check lets every record be sent.
func (PolicyFunc) Check(*partition.Record, int32) error { return nil }

// Next calls the function.
func (f PolicyFunc) Next(_ context.Context, b *partition.Batch, a broker.Answer) partition.Plan {
	return f(b, a)
}

// UntilGivenUp is a Policy that looks at records until they are given up.
type UntilGivenUp struct{ Asked chan struct{} }

// Acked is that of a Policy.
func (UntilGivenUp) Acked(*partition.Batch) {}

// Check lets every record be sent.
func (UntilGivenUp) Check(*partition.Record, int32) error { return nil }

// Next returns when the records are given up.
func (u UntilGivenUp) Next(ctx context.Context, b *partition.Batch, _ broker.Answer) partition.Plan {
	select {
	case u.Asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	if string(b.Records[0].Value) == "x" {
		panic("the record was given back before")
	}
	return partition.Plan{Same: true}
}

// InOrder is a Policy of one function for each batch that is not acked.
func InOrder(do ...func(*partition.Batch) partition.Plan) PolicyFunc {
	var n atomic.Int64
	return func(b *partition.Batch, _ broker.Answer) partition.Plan {
		if at := int(n.Add(1)) - 1; at < len(do) {
			return do[at](b)
		}
		return partition.Plan{Same: true}
	}
}

// Same has a batch sent again.
func Same(*partition.Batch) partition.Plan { return partition.Plan{Same: true} }

// Later has the first record of a batch sent again after an hour.
func Later(b *partition.Batch) partition.Plan {
	return partition.Plan{Later: []partition.Later{{Record: b.Records[0], After: time.Hour}}}
}

// Halves is a Policy that halves what is rejected, and fails a single record.
func Halves(b *partition.Batch, _ broker.Answer) (plan partition.Plan) {
	if len(b.Records) == 1 {
		return partition.Plan{Failed: []partition.Failed{{Record: b.Records[0], Reason: ErrGivenUp}}}
	}
	half := len(b.Records) / 2
	return partition.Plan{Parts: []partition.Part{{Records: b.Records[:half], Half: true}, {Records: b.Records[half:]}}}
}

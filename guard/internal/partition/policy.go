package partition

import (
	"context"
	"time"

	"github.com/kafka-guarded/kafka-guarded/guard/internal/broker"
)

// Policy decides about batches that were not acked.
type Policy interface {
	// Acked is called with each batch that was acked. It must return soon.
	Acked(b *Batch)
	// Check returns why a questioned record is not to be sent to a leader, nil if it is. It
	// must return soon.
	Check(r *Record, leader int32) error
	// Next says what is sent in the place of a batch that was not acked. It is
	// called on a goroutine of its own, and nothing is sent to the partition
	// until it returns. ctx ends once records of the batch are given up: then it
	// must return soon.
	Next(ctx context.Context, b *Batch, a broker.Answer) Plan
}

// Plan is what is sent in the place of a batch.
type Plan struct {
	// Same has the very same batch sent again, with Restamp with timestamps of now where
	// the producer sets them.
	Same, Restamp bool
	// Parts are sent in this order, each as a batch of its own. A record of the
	// batch is in a part, in Later or in Failed.
	Parts []Part
	// Failed are records that are not sent any more.
	Failed []Failed
	// Pause is how long the partition waits before it goes on.
	Pause time.Duration
	// Later are records that are sent again by themselves, each after a pause of its
	// own. Records with the same key wait behind them, others do not.
	Later []Later
}

// Part is a batch to be.
type Part struct {
	Records []*Record
	// Alone asks for a request of its own.
	Alone bool
	// Half is set for the first of two halves of a batch that was rejected for what is in
	// it: if it is acked, the second would be rejected, and is halved without being sent.
	Half bool
}

// Failed is a record that fails, and why.
type Failed struct {
	Record *Record
	Reason error
}

// Later is a record to be sent again after a pause.
type Later struct {
	Record *Record
	After  time.Duration
}

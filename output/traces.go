package output

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// traces has the trace context of messages put into what their records are made
// of, by Benthos' own wrapper around outputs.
type traces struct {
	wrapped service.BatchOutput // nil if not configured
}

func tracesFrom(conf *service.ParsedConfig) (traces, error) {
	wrapped, err := conf.WrapBatchOutputExtractTracingSpanMapping(name, noOutput{})
	if _, same := wrapped.(noOutput); same || err != nil {
		return traces{}, err
	}
	return traces{wrapped}, nil
}

// into returns the batch with the trace contexts in it. The messages that it is
// given stay as they are: dead letters and errors are about these.
func (t traces) into(ctx context.Context, batch service.MessageBatch) service.MessageBatch {
	if t.wrapped == nil {
		return batch
	}
	traced := batch.Copy()
	_ = t.wrapped.WriteBatch(ctx, traced) // it replaces them in place, and logs what fails
	return traced
}

// noOutput is an output that takes all and does nothing.
type noOutput struct{}

func (noOutput) Connect(context.Context) error                          { return nil }
func (noOutput) WriteBatch(context.Context, service.MessageBatch) error { return nil }
func (noOutput) Close(context.Context) error                            { return nil }

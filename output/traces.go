package output

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// traces adds the trace context to messages before records are made of them. It uses
// Benthos' own wrapper around outputs.
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

// into returns a copy of the batch with the trace contexts in it. Dead letters and
// errors are about the original messages, which stay as they are.
func (t traces) into(ctx context.Context, batch service.MessageBatch) service.MessageBatch {
	if t.wrapped == nil {
		return batch
	}
	traced := batch.Copy()
	_ = t.wrapped.WriteBatch(ctx, traced) // it changes the messages in place, and logs errors
	return traced
}

// noOutput is an output that takes all messages and drops them.
type noOutput struct{}

func (noOutput) Connect(context.Context) error                          { return nil }
func (noOutput) WriteBatch(context.Context, service.MessageBatch) error { return nil }
func (noOutput) Close(context.Context) error                            { return nil }

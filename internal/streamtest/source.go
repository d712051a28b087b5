package streamtest

import (
	"context"
	"errors"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

// Source returns the next batch, and what to call with the answer to it. It
// returns service.ErrEndOfInput at its end. It is called by one at a time.
type Source func(context.Context) (service.MessageBatch, Answer, error)

// Answer is called with the acknowledgement of a batch, and with what it says of
// each message.
type Answer func(err error, said []deliverycheck.Answer)

// input is the input "source".
type input struct {
	source Source
	// indexed batches can tell of which messages an error speaks. Not so
	// those that are sent again: they have an index of their own.
	indexed bool
}

func (*input) Connect(context.Context) error { return nil }
func (*input) Close(context.Context) error   { return nil }

func (i *input) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	batch, answer, err := i.source(ctx)
	if err != nil {
		return nil, nil, err
	}
	n := len(batch)
	var index *service.Indexer
	if i.indexed {
		index = batch.Index()
	}
	return batch, func(_ context.Context, err error) error {
		answer(err, words(n, index, err))
		return nil
	}, nil
}

// words reads the answer to a batch of n messages. An error that is about more
// than one message at a time says nothing of any: they are untold.
func words(n int, index *service.Indexer, err error) []deliverycheck.Answer {
	said := make([]deliverycheck.Answer, n)
	if err == nil {
		return said
	}
	var batchErr *service.BatchError
	if errors.As(err, &batchErr) && batchErr.IndexedErrors() > 0 && index != nil {
		batchErr.WalkMessagesIndexedBy(index, func(i int, _ *service.Message, err error) bool {
			if i >= 0 && i < n { // a processor may have made more of them
				said[i] = deliverycheck.AnswerOf(err)
			}
			return true
		})
		return said
	}
	for i := range said {
		said[i] = deliverycheck.Untold
	}
	if n == 1 {
		said[0] = deliverycheck.AnswerOf(err)
	}
	return said
}

// Spy is told what the output below the output "spy" said of each message of a
// batch. Its field "on" is that output.
//
// It hears every answer, also when the stream is shut down by force: it does not
// end before it has.
type Spy func(batch service.MessageBatch, said []deliverycheck.Answer)

const fieldOn, fieldInFlight = "on", "max_in_flight"

func (s Spy) register(env *service.Environment) error {
	spec := service.NewConfigSpec().Fields(service.NewOutputField(fieldOn), service.NewOutputMaxInFlightField())
	return env.RegisterBatchOutput("spy", spec, func(conf *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		child, err := conf.FieldOutput(fieldOn)
		if err != nil {
			return nil, service.BatchPolicy{}, 0, err
		}
		inFlight, err := conf.FieldInt(fieldInFlight)
		return &spying{spy: s, child: child}, service.BatchPolicy{}, inFlight, err
	})
}

type spying struct {
	spy   Spy
	child *service.OwnedOutput
	prime sync.Once
}

func (s *spying) Connect(context.Context) (err error) {
	s.prime.Do(func() { err = s.child.Prime() })
	return err
}

func (s *spying) Close(ctx context.Context) error { return s.child.Close(ctx) }

func (s *spying) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	asItWas, index := batch.Copy(), batch.Index() // processors may change it
	err := s.child.WriteBatch(context.WithoutCancel(ctx), batch)
	s.spy(asItWas, words(len(batch), index, err))
	return err
}

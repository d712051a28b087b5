package output

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// ConnectionTest reports whether any broker answers and takes the credentials,
// and the same of the dead-letter output as far as it can tell. It writes
// nothing.
func (o *output) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	result := service.ConnectionTestSucceeded()
	if err := o.ping(ctx); err != nil {
		result = service.ConnectionTestFailed(err)
	}
	results := result.AsList()
	if o.letters != nil {
		results = append(results, o.letters.out.ConnectionTest(ctx)...)
	}
	return results
}

func (o *output) ping(ctx context.Context) error {
	g, err := guard.New(o.client.guard, o.client.opts...)
	if err != nil {
		return err
	}
	defer g.Close()
	return explainSASL(o.client.sasl, g.Ping(ctx))
}

// Package output registers the kafka_guarded output with Benthos. A program imports
// it for its side effect:
//
//	import _ "github.com/kafka-guarded/kafka-guarded/output"
package output

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

const name = "kafka_guarded"

func init() {
	registerLint()
	service.MustRegisterBatchOutput(name, Spec(), func(conf *service.ParsedConfig, mgr *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		fail := func(err error) (service.BatchOutput, service.BatchPolicy, int, error) {
			return nil, service.BatchPolicy{}, 0, err
		}
		o, err := newOutput(conf, mgr)
		if err != nil {
			return fail(err)
		}
		maxInFlight, err := conf.FieldInt(fieldMaxInFlight)
		if err != nil {
			return fail(err)
		}
		policy, err := conf.FieldBatchPolicy(fieldBatching)
		if err != nil {
			return fail(err)
		}
		return o, policy, maxInFlight, nil
	})
}

// output is the kafka_guarded output: Benthos on one side, guard on the other.
type output struct {
	client    clientConfig
	records   recordConfig
	reporter  func() *reporter
	notices   *notices
	metrics   *metrics
	others    *holdOthers      // nil if there is nothing to hold
	letters   *deadLetters     // nil if not configured
	breaker   *breaker         // nil if not configured
	reports   *deliveryReports // nil if not configured
	traces    traces
	throttles *throttles
	resource  resource

	mu    sync.RWMutex
	guard *guard.Guard // nil when not connected
	end   func()       // ends what Connect began
}

func newOutput(conf *service.ParsedConfig, mgr *service.Resources) (*output, error) {
	p := newParser(conf)
	client, records := p.config(mgr.Logger())
	policy, hints := p.batching(), p.hints(client)
	if err := p.err(); err != nil {
		return nil, err
	}
	o := &output{
		client:  client,
		records: records,
		notices: newNotices(mgr.Logger(), client.endpoint()),
		metrics: newMetrics(mgr.Metrics()),
	}
	o.client.failures.metric = o.metrics.connectFailed
	o.resource = resourceOf(mgr)
	o.throttles = newThrottles(mgr.Logger(), o.metrics)
	var err error
	if o.traces, err = tracesFrom(conf); err != nil {
		return nil, err
	}
	if o.letters, err = deadLettersFrom(conf, client.guard, client.format, records, o.notices, o.metrics); err != nil {
		return nil, err
	}
	o.notices.deadLetter = o.letters != nil
	o.breaker = newBreaker(client, o.notices, o.metrics)
	o.others = newHoldOthers(client.guard, o.notices, o.metrics)
	if o.reports, err = deliveryReportsFrom(conf, client, o.notices, o.metrics); err != nil {
		return nil, err
	}
	for _, hint := range hints {
		mgr.Logger().Warn(hint)
	}
	o.reporter = sync.OnceValue(func() *reporter {
		around := positionOf(mgr)
		told := around
		var deleted string
		if told.Output, deleted = deletion(client, around.Output, o.letters != nil); deleted != "" {
			mgr.Logger().Warn(deleted)
		}
		if text := unseen(client, around, o.letters != nil); text != "" {
			mgr.Logger().Warn(text)
		}
		for _, text := range bareFiles(client, around.Output) {
			mgr.Logger().Warn(text)
		}
		o.notices.start(client, told, policy, o.letters != nil)
		return newReporter(client, around, policy, o.letters != nil, o.notices, o.metrics)
	})
	if !slices.Contains(mgr.Path(), "output_resources") {
		o.reporter()
	} // else at the first batch: Benthos makes resources before it reads the config around them
	o.client.guard.Observer = observer{o.metrics, o.notices, client.guard.MaxMessageBytes}
	return o, nil
}

// Connect makes the clients, once a broker answers.
func (o *output) Connect(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.guard != nil {
		return nil
	}
	for _, c := range o.children() {
		if err := c.open(); err != nil {
			return err
		}
	}
	seeds, err := o.client.reach(ctx)
	if err != nil {
		return err
	}
	g, err := guard.New(o.client.guard, append(slices.Clone(o.client.opts), kgo.SeedBrokers(seeds...), kgo.WithHooks(o.throttles))...)
	if err != nil {
		return err
	}
	o.guard = g
	ctx, o.end = context.WithCancel(context.WithoutCancel(ctx))
	go o.checkRequestLimit(ctx, g)
	go useAllSeeds(ctx, g, o.client.seeds)
	return nil
}

// useAllSeeds makes the client use all seed brokers, also those that did not answer at the start.
func useAllSeeds(ctx context.Context, g *guard.Guard, seeds []string) {
	ctx, cancel := context.WithTimeout(ctx, requestLimitWait)
	defer cancel()
	for g.UseSeeds(ctx, seeds...) != nil && ctx.Err() == nil {
		select {
		case <-time.After(redialInterval):
		case <-ctx.Done():
		}
	}
}

// requestLimitWait bounds the wait for the brokers' limit.
const requestLimitWait = 10 * time.Second

// checkRequestLimit asks the brokers how large a request may be. Without the right
// to read that, it warns of nothing.
func (o *output) checkRequestLimit(ctx context.Context, g *guard.Guard) {
	ctx, cancel := context.WithTimeout(ctx, requestLimitWait)
	defer cancel()
	switch limit, err := g.RequestLimit(ctx); {
	case err == nil:
		o.notices.requestLimit(o.client.maxRequestBytes, limit)
	case closedAtOnce(err) && o.client.refusesNewest(ctx, o.client.seeds):
		o.notices.refusesNewest()
	}
}

// WriteBatch writes the batch. It returns nil if every message of it was delivered, or
// taken by the dead-letter output. Otherwise the error lists the other messages, or is
// about the whole batch: see reporter.
func (o *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	o.mu.RLock()
	g := o.guard
	o.mu.RUnlock()
	if g == nil {
		return service.ErrNotConnected
	}
	if len(batch) == 0 {
		return nil
	}
	ctx, done := o.resource.untilReplaced(ctx)
	defer done()
	records, failures := o.records.from(o.traces.into(ctx, batch))
	start := time.Now()
	verdicts := g.Write(ctx, records)
	o.metrics.latency.Timing(time.Since(start).Nanoseconds())
	for i, f := range failures {
		verdicts[i] = guard.Verdict{Outcome: f.Outcome, Class: f.Class, Partition: -1, Offset: -1, Failure: f}
	}
	o.hold(ctx, g, records, verdicts)
	var taken map[int]bool
	if o.letters != nil {
		var held []int
		if o.breaker != nil {
			held = o.breaker.hold(ctx, func(ctx context.Context, again []*kgo.Record) []guard.Verdict {
				verdicts := g.Write(ctx, again)
				o.hold(ctx, g, again, verdicts)
				return verdicts
			}, records, verdicts)
		}
		taken = o.letters.deliver(ctx, batch, records, verdicts, held)
	}
	o.metrics.count(verdicts)
	if o.reports != nil {
		o.reports.deliver(ctx, batch, records, verdicts)
	}
	return o.reporter().report(ctx, batch, verdicts, taken)
}

// hold holds what failed, and is neither for the dead letters nor to be reported.
func (o *output) hold(ctx context.Context, g *guard.Guard, records []*kgo.Record, verdicts []guard.Verdict) {
	if o.others != nil {
		o.others.hold(ctx, g.Write, records, verdicts)
	}
	o.reporter().hold(ctx, g.Write, records, verdicts)
}

// Close ends the clients. Running writes return.
func (o *output) Close(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.guard != nil {
		o.end()
		o.guard.Close()
		o.guard = nil
	}
	var errs []error
	for _, c := range o.children() {
		errs = append(errs, c.close(ctx))
	}
	o.notices.close()
	o.throttles.close()
	o.client.log.close()
	return errors.Join(errs...)
}

// children returns the child outputs.
func (o *output) children() (all []*child) {
	if o.letters != nil {
		all = append(all, o.letters.child)
	}
	if o.reports != nil {
		all = append(all, o.reports.child)
	}
	return all
}

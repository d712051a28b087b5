package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// othersWait is how long the other seed brokers have to answer after one
	// has.
	othersWait = 250 * time.Millisecond

	// redialInterval is when to try a seed broker again that did not answer,
	// while others are still being tried.
	redialInterval = 500 * time.Millisecond

	// turnedAwayInterval is when to try again to connect to a cluster that
	// answers, but rejects the connection, for example for a wrong password.
	turnedAwayInterval = 10 * time.Second
)

// reach tries all seed brokers at a time, and returns those that answer and take the
// credentials. It returns soon after the first one, and gives the others a moment.
// A kgo client starts with a random seed. If that drops packets, the client would
// wait for its dial time-out again and again. Once connected, it knows all brokers
// and hardly needs a seed.
//
// Failed seeds are tried again while others have not answered. When all have failed,
// the error has the cause of each.
func (c *clientConfig) reach(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer)
	for _, seed := range c.seeds {
		go c.call(ctx, seed, answers)
	}
	var reached []string
	failed := map[string]error{}
	var enough <-chan time.Time // set when one was reached
	for len(reached)+len(failed) < len(c.seeds) {
		select {
		case a := <-answers:
			if a.err != nil {
				failed[a.seed] = a.err
				continue
			}
			delete(failed, a.seed)
			reached = append(reached, a.seed)
			if enough == nil {
				enough = time.After(othersWait)
			}
		case <-enough:
			return reached, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(reached) > 0 {
		return reached, nil
	}
	return nil, c.unreached(failed)
}

// answer is the result of a try to connect to a seed broker.
type answer struct {
	seed string
	err  error
}

// call tries a seed broker until it answers, or until no further try can help.
func (c *clientConfig) call(ctx context.Context, seed string, answers chan<- answer) {
	for {
		err := c.ping(ctx, seed)
		select {
		case answers <- answer{seed, err}:
		case <-ctx.Done():
			return
		}
		if err == nil || turnedAway(err) { // the broker may count each try as an attack
			return
		}
		select {
		case <-time.After(redialInterval):
		case <-ctx.Done():
			return
		}
	}
}

// unreached is the error of seed brokers none of which could be used.
func (c *clientConfig) unreached(failed map[string]error) error {
	var texts []string
	away := true
	for _, seed := range c.seeds {
		texts = append(texts, fmt.Sprintf("%s: %v", seed, failed[seed]))
		away = away && turnedAway(failed[seed])
	}
	err := fmt.Errorf("no broker of %s can be used: %s", fieldSeedBrokers, strings.Join(texts, "; "))
	if away {
		return service.NewErrBackOff(err, turnedAwayInterval)
	}
	return err
}

// ping asks one seed broker whether it answers and takes the credentials.
func (c *clientConfig) ping(ctx context.Context, seed string) error {
	kafka, err := kgo.NewClient(slices.Concat(c.opts, []kgo.Opt{kgo.SeedBrokers(seed), kgo.WithLogger(nil)})...)
	if err != nil {
		return err
	}
	// kgo waits for the first answer on a connection whatever the context says,
	// unless the client is closed.
	closed := sync.OnceFunc(kafka.Close)
	defer closed()
	defer context.AfterFunc(ctx, closed)()
	for range max(1, len(c.sasl.names())) {
		if err = kafka.Ping(ctx); !errors.Is(err, kerr.UnsupportedSaslMechanism) {
			break
		}
	}
	if refusesCredentials(err) {
		c.failures.add(reasonCredentials)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no connection within %s (%s.connect_timeout): %w", c.dialer.timeout, fieldTCP, err)
	}
	return c.sasl.explain(err)
}

// turnedAway reports whether a broker answered, and rejects the connection: there is
// no use in trying again soon.
func turnedAway(err error) bool {
	var certificate *tls.CertificateVerificationError
	return refusesCredentials(err) || errors.As(err, &certificate)
}

// ConnectionTest reports whether a broker answers and takes the credentials. It tests
// the child outputs, too, as far as they can be tested. It writes nothing.
func (o *output) ConnectionTest(ctx context.Context) service.ConnectionTestResults {
	result := service.ConnectionTestSucceeded()
	if _, err := o.client.reach(ctx); err != nil {
		result = service.ConnectionTestFailed(err)
	}
	results := result.AsList()
	for _, c := range o.children() {
		results = append(results, c.out.ConnectionTest(ctx)...)
	}
	return results
}

package output

import (
	"context"
	"slices"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// resource is the resource that the output is. The streams API may replace it, even
// while messages are held.
type resource struct {
	mgr   *service.Resources
	label string // empty if the output is no resource
}

func resourceOf(mgr *service.Resources) resource {
	if !slices.Contains(mgr.Path(), "output_resources") || !mgr.HasOutput(mgr.Label()) {
		return resource{}
	}
	return resource{mgr, mgr.Label()}
}

const (
	// probeAfter is how long a write may take before it is asked whether the
	// resource is being replaced, and then how often it is asked.
	probeAfter = time.Second
	// probeWait is how long the answer may take.
	probeWait = time.Second
)

// untilReplaced returns a context for a write, which ends when the resource is being
// replaced or removed.
//
// Benthos closes an output only when its writes have returned, and does not tell the
// writes. So with a held write, the request to replace the output would wait for ever.
// Once the caller of that request leaves, the resource takes no messages any more.
// While Benthos replaces a resource, no other access to it succeeds. That is how a
// write notices.
func (r resource) untilReplaced(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.label == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(probeAfter, func() {
		for ctx.Err() == nil {
			if !r.accessible(ctx) {
				cancel()
				return
			}
			select {
			case <-time.After(probeAfter):
			case <-ctx.Done():
			}
		}
	})
	return ctx, func() {
		timer.Stop()
		cancel()
	}
}

// accessible reports whether the resource can be accessed. It returns true, too,
// if ctx ends first.
func (r resource) accessible(ctx context.Context) bool {
	accessed := make(chan struct{})
	go func() {
		_ = r.mgr.AccessOutput(ctx, r.label, func(*service.ResourceOutput) {})
		close(accessed)
	}()
	select {
	case <-accessed:
		return true
	case <-ctx.Done():
		return true
	case <-time.After(probeWait):
		return false
	}
}

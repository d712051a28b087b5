package output

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// reporter turns verdicts into what WriteBatch returns. What Benthos makes of
// that depends on what is above the output:
//
//   - fallback passes on exactly the failed messages of a BatchError, each with
//     its own text, and of any other error all of them, with one text.
//   - An input that replays nacked batches takes the failed messages out of its
//     batch, and sends these again. If they fail again, and again as a
//     BatchError, it looks for their old places in the smaller batch, mixes
//     them up and loses some. With any other error it sends all of them again.
//
// So a BatchError is right when only a part failed, and in a fallback also when
// all did. Without one, all failed is a plain error, and so is a part of what
// may be such a smaller batch: that may duplicate what was delivered of it, but
// loses nothing.
type reporter struct {
	notices notices
	// forwarded is set when an output of a fallback comes after this one:
	// then it and not the input gets the errors.
	forwarded bool

	mu sync.Mutex
	// reduced has the sizes of the batches that an input may have been left
	// with by a BatchError.
	reduced map[int]struct{}
}

func newReporter(mgr *service.Resources) *reporter {
	path := mgr.Path()
	n := len(path)
	return &reporter{
		notices: notices{mgr.Logger()},
		// The first output of a fallback. Whether another one comes after the
		// second, or any later, the path does not tell.
		forwarded: n >= 2 && path[n-2] == "fallback" && path[n-1] == "0",
		reduced:   map[int]struct{}{},
	}
}

// report returns nil when every message was delivered or taken by the dead-letter
// output, else an error that is about those that were not.
func (r *reporter) report(batch service.MessageBatch, verdicts []guard.Verdict, taken map[int]bool) error {
	var failed []int
	unknown := 0
	for i, v := range verdicts {
		if v.Outcome == guard.Delivered || taken[i] {
			continue
		}
		failed = append(failed, i)
		if v.Outcome == guard.Unknown {
			unknown++
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if unknown > 0 {
		r.notices.uncertain(unknown, len(batch))
	}
	headline := headline(verdicts, failed, len(batch))
	if len(batch) == 1 || !r.separable(len(failed), len(batch)) {
		return headline
	}
	err := service.NewBatchError(batch, headline)
	for _, i := range failed {
		err = err.Failed(i, verdicts[i].Err())
	}
	return err
}

// separable reports whether a BatchError is safe for the batch.
func (r *reporter) separable(failed, all int) bool {
	if r.forwarded {
		return true
	}
	if failed == all {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.reduced[all]; ok {
		return false
	}
	r.reduced[failed] = struct{}{}
	return true
}

// headline is the error for the batch as a whole: that of the only failure, or
// the first one's with how many there are besides, and of which classes.
func headline(verdicts []guard.Verdict, failed []int, all int) error {
	first := verdicts[failed[0]].Failure
	if len(failed) == 1 {
		return first
	}
	counts := map[guard.Class]int{}
	for _, i := range failed {
		counts[verdicts[i].Class]++
	}
	var classes []guard.Class
	for c := range counts {
		classes = append(classes, c)
	}
	slices.Sort(classes)
	text := ""
	for i, c := range classes {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", counts[c], c)
	}
	return fmt.Errorf("%w (%d of %d messages failed: %s)", first, len(failed), all, text)
}

// inFallback reports whether an output with this path is one of a fallback, at
// whatever depth, so that the errors of the one may get to the other. What is
// in a dead_letter has no errors that get out of it.
func inFallback(path []string) bool {
	for i, segment := range slices.Backward(path) {
		if segment == fieldDeadLetter {
			return false
		}
		if segment == "fallback" && i+1 < len(path) {
			if _, err := strconv.Atoi(path[i+1]); err == nil {
				return true
			}
		}
	}
	return false
}

package output

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// lasting are the classes that are permanent by default. Package guard never retries a
// failure of these that it finds without sending the record, whatever the config says.
var lasting = []guard.Class{guard.SizeExceeded, guard.InvalidRecord, guard.Unroutable}

// notPermanent returns the lasting classes that the config's permanent lacks.
func notPermanent(permanent []guard.Class) (out []guard.Class) {
	for _, c := range lasting {
		if !slices.Contains(permanent, c) {
			out = append(out, c)
		}
	}
	return out
}

// holdOthers holds the failed messages whose class is not permanent, until they pass
// or the time for retries is up.
type holdOthers struct {
	*holder
	classes []guard.Class
	notices *notices
}

// newHoldOthers returns nil if there is nothing to hold.
func newHoldOthers(config guard.Config, n *notices, m *metrics) *holdOthers {
	classes := notPermanent(config.Permanent)
	if len(classes) == 0 {
		return nil
	}
	return &holdOthers{&holder{why: fieldPermanent, retry: config.Retry, metrics: m}, classes, n}
}

func (h *holdOthers) hold(ctx context.Context, write writeFunc, records []*kgo.Record, verdicts []guard.Verdict) {
	h.holder.hold(ctx, write, records, verdicts, func([]int) (held []int) {
		for i := range verdicts {
			if v := &verdicts[i]; v.Outcome == guard.NotWritten && slices.Contains(h.classes, v.Class) {
				held = append(held, i)
				h.notices.notPermanent(v.Failure)
			}
		}
		return held
	})
}

// permanentHint warns of classes that a list of permanent classes lacks.
func permanentHint(permanent []guard.Class) string {
	out := notPermanent(permanent)
	if len(out) == 0 {
		return ""
	}
	var names []string
	for _, c := range out {
		names = append(names, c.String())
	}
	missing := strings.Join(names, ", ")
	return fmt.Sprintf("%s replaces the default list, and leaves out %s: messages that fail with these are held with their batch until they pass, and never get to %s. Add them, unless that is meant", fieldPermanent, missing, fieldDeadLetter)
}

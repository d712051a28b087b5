package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// TestTheOracleNoticesWrongVerdicts changes right verdicts of a scenario with faults.
func TestTheOracleNoticesWrongVerdicts(t *testing.T) {
	failed := guard.Verdict{Outcome: guard.NotWritten, Class: guard.InvalidRecord, Failure: &guard.Failure{}}
	unknown := guard.Verdict{Class: guard.Transient, Failure: &guard.Failure{}}
	for _, test := range []struct {
		kind  string
		wrong func(x *written)
	}{
		{"", func(*written) {}},
		{"lost", func(x *written) { x.records[1] = left(x) }},
		{"failed_wrongly", func(x *written) { x.records[1], x.verdicts[1] = left(x), failed }},
		{"written", func(x *written) { x.verdicts[1] = failed }},
		{"doubt", func(x *written) { x.verdicts[1] = unknown }},
		{"duplicate", nil},
	} {
		t.Run(test.kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newScenario(t, plan{
					Dialect: "kafka", Partitions: 1, Latency: time.Millisecond,
					Writers: []writer{{Writes: []write{{Records: []run{{Shape: good, Times: 3}}}}}},
					Faults:  []fault{{Do: "refuse", Code: "NOT_ENOUGH_REPLICAS"}},
				})
				w.write(0)
				if test.wrong != nil {
					test.wrong(w.written[0])
				} else {
					again := *w.written[0].records[1]
					require.Equal(t, guard.Delivered, w.guard.Write(t.Context(), []*kgo.Record{&again})[0].Outcome)
				}
				kind, broken := w.check()
				require.Equal(t, test.kind, kind, broken)
				w.close()
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// left returns a record that was left out of the log.
func left(x *written) *kgo.Record {
	out := *x.records[1]
	out.Value = []byte("left out.")
	return &out
}

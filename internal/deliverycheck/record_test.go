package deliverycheck

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWrongReportIsNoticed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, kind string
		right      Record
		wrong      func(*Record)
	}{
		{"a copy", "duplicate", Record{Outcome: "delivered", Copies: 1}, func(r *Record) { r.Copies = 2 }},
		{"a copy that may be", "lost", Record{Outcome: "delivered", Copies: 2, MayRepeat: true}, func(r *Record) { r.Copies = 0 }},
		{"left out", "lost", Record{Outcome: "delivered", MayBeGone: true}, func(r *Record) { r.MayBeGone = false }},
		{"written", "written", Record{Outcome: "not_written"}, func(r *Record) { r.Copies = 1 }},
		{"a good record failed", "failed_wrongly", Record{Outcome: "not_written", Permanent: true, MayFail: true}, func(r *Record) { r.MayFail = false }},
		{"a good record failed in doubt", "failed_wrongly_in_doubt", Record{Outcome: "unknown", Permanent: true, MayFail: true, MayBeUnknown: true}, func(r *Record) { r.MayFail = false }},
		{"unknown without a reason", "doubt", Record{Outcome: "unknown", MayBeUnknown: true}, func(r *Record) { r.MayBeUnknown = false }},
		{"unknown though a retry settles it", "doubt", Record{Outcome: "unknown", MayBeUnknown: true}, func(r *Record) { r.Settles = true }},
		{"a bad record that is only retried", "not_failed", Record{Outcome: "not_written", MustFail: true, MayFail: true, Permanent: true}, func(r *Record) { r.Permanent = false }},
		{"a good record that is given up", "undelivered", Record{Outcome: "not_written"}, func(r *Record) { r.MustArrive = true }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kind, text := test.right.Wrong()
			require.Empty(t, kind+text)
			test.wrong(&test.right)
			kind, text = test.right.Wrong()
			require.Equal(t, test.kind, kind)
			require.NotEmpty(t, text)
		})
	}
}

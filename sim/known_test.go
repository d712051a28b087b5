package sim

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// knownBreak is a way in which guard breaks today.
type knownBreak struct {
	name string // of its plan in testdata, too
	row  int    // of the list of attacks that the breaks were first found by, 0 for none
	kind string
	// why says what happens, for who is to mend it.
	why string
	// is reports whether a world that broke broke in this way, as far as can be
	// said from its plan.
	is func(p plan, r result) bool
}

// knownBreaks is to become empty. What is mended comes off the list, and its plan
// stays in testdata, where it must not break any more.
var knownBreaks = []knownBreak{
	{"refused_while_requests_are_under_way", 1, "blame_in_doubt", "A batch is refused while other requests are under way. kgo fails all that is buffered for the partition, also a batch whose " +
		"request is made and not written yet, and writes that request with null records. Kafka never answers it; what is behind it on the connection times out, and is in doubt.",
		func(_ plan, r result) bool { return r.kind == "blame_in_doubt" }},
	{"refused_after_doubt", 0, "blame_in_doubt", "A batch whose first attempt is in doubt is refused at the second. Its innocents are not sent again, which is right, but bear the class of the " +
		"refusal, as if something were known against them.",
		func(plan, result) bool { return false }}, // as the one before
	{"alone_in_the_batch_not_in_the_request", 2, "blame", "The suspects of several partitions are isolated at the same time by one client, and kgo puts their batches into one request. A gateway that " +
		"judges requests refuses it whole, and each record that was alone in its batch is condemned.",
		func(p plan, r result) bool {
			return p.dialect().WholeRequest && slices.Contains([]string{"blame", "undelivered", "acquitted"}, r.kind)
		}},
	{"sick_for_two_seconds", 3, "blame", "A broker that answers UNKNOWN_SERVER_ERROR or CORRUPT_MESSAGE to everything for a while: three tries within some milliseconds count as proof.",
		func(p plan, r result) bool {
			return r.kind == "blame" && p.answers("refuse", "UNKNOWN_SERVER_ERROR", "CORRUPT_MESSAGE", "INVALID_TIMESTAMP")
		}},
	{"lane_given_back_early", 5, "blame", "The context of a write ends while its suspects are isolated. Its lane is free at once, but kgo still holds its records, and fails those of the next write along with them.",
		func(p plan, r result) bool { return r.kind == "blame" && p.ends() }},
	{"slow_hand_over", 6, "order", "The hand-over of a part takes longer than the linger: the first records leave and are refused, the others leave after them and are taken.",
		func(p plan, r result) bool { return r.kind == "order" }},
	{"answered_after_the_append", 8, "duplicate", "A broker appends and answers UNKNOWN_SERVER_ERROR, KAFKA_STORAGE_ERROR or NETWORK_EXCEPTION: the record is sent again under another sequence number, or called unwritten.",
		func(p plan, r result) bool {
			return slices.Contains([]string{"duplicate", "written", "blame"}, r.kind) && p.answers("rewrite")
		}},
	{"no_producer_id", 10, "doubt", "A connection is closed before anything was produced on it, and what kgo then hands back counts as perhaps written.",
		func(_ plan, r result) bool { return r.kind == "doubt" }},
	{"closed_with_a_retired_client", 11, "close", "A write on a retired generation of clients does not return after Close: only the current clients are closed.",
		func(_ plan, r result) bool { return r.kind == "close" || r.kind == "leak" }},
	{"request_larger_than_the_socket_takes", 14, "hang", "A request over socket.request.max.bytes has the connection closed without an answer, and is sent again as it was, for ever.",
		func(p plan, r result) bool {
			return p.dialect().MaxRequest > 0 && slices.Contains([]string{"hang", "silence", "churn"}, r.kind)
		}},
	{"overdue", 17, "overdue", "What kgo tries again by itself knows nothing of retry.max_elapsed_time.",
		func(_ plan, r result) bool { return r.kind == "overdue" }},
}

// knownTo returns the known break that a world's is, nil for a new one.
func knownTo(p plan, r result) *knownBreak {
	for i := range knownBreaks {
		if knownBreaks[i].is(p, r) {
			return &knownBreaks[i]
		}
	}
	return nil
}

// answers reports whether brokers answer so by a trouble, with one of the codes or
// any.
func (p plan) answers(do string, codes ...string) bool {
	return slices.ContainsFunc(p.Troubles, func(t trouble) bool {
		return t.Do == do && (len(codes) == 0 || slices.Contains(codes, t.Code))
	})
}

// ends reports whether a write's context ends.
func (p plan) ends() bool {
	return slices.ContainsFunc(p.Writers, func(w writer) bool {
		return slices.ContainsFunc(w.Writes, func(x write) bool { return x.Ends > 0 })
	})
}

// TestPlansThatOnceBroke has the plans in testdata break if, and only if, the list
// says so.
func TestPlansThatOnceBroke(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, b := range knownBreaks {
		require.Contains(t, files, filepath.Join("testdata", b.name+".json"))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := load(t, file)
			known := slices.IndexFunc(knownBreaks, func(b knownBreak) bool { return b.name == name })
			if known < 0 {
				for range 5 {
					r := live(t, p)
					require.Empty(t, r.broken, "%s", r.kind)
				}
				return
			}
			b := knownBreaks[known]
			t.Logf("known break (row %d): %s", b.row, b.why)
			for range 40 {
				if live(t, p).kind == b.kind {
					return
				}
			}
			t.Error("it does not break any more: take it off the list of known breaks")
		})
	}
}

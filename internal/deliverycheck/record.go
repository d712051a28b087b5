package deliverycheck

import (
	"fmt"
	"math"
)

// Record is what a producer reported of a record, and what a test knows about it. The
// zero value of a May field is the strict one.
type Record struct {
	// Outcome is "delivered", "not_written" or "unknown".
	Outcome string
	// Permanent is set if the producer says that the record itself failed.
	Permanent bool
	// Copies is how often the record is in the log.
	Copies int

	// MayRepeat is set if the client may write a record twice, MayBeGone if the log
	// may have been deleted.
	MayRepeat, MayBeGone bool
	// MayFail is set if a broker rejects the record, by a limit or by a fault.
	MayFail bool
	// MayBeUnknown is set if a request that held the record got no clear answer.
	MayBeUnknown bool
	// Settles is set if a retry tells what became of the record.
	Settles bool
	// MustFail is set if all brokers reject the record at all times, MustArrive if none
	// does. They concern only a record that the producer reports as not written.
	MustFail, MustArrive bool
}

// Wrong returns what is wrong with the report and its kind, and nothing if it is right.
func (r Record) Wrong() (kind, text string) {
	unknown := r.Outcome == "unknown"
	switch {
	case r.Copies > 1 && !r.MayRepeat:
		return "duplicate", fmt.Sprintf("it is in the log %d times", r.Copies)
	case r.Outcome == "delivered" && r.Copies == 0 && !r.MayBeGone:
		return "lost", "it is not in the log"
	case r.Outcome == "not_written" && r.Copies > 0:
		return "written", "it is in the log"
	case r.Outcome == "delivered":
		return "", ""
	case r.Permanent && !r.MayFail && unknown:
		return "failed_wrongly_in_doubt", "no limit rejects it"
	case r.Permanent && !r.MayFail:
		return "failed_wrongly", "no limit rejects it"
	case unknown && !r.MayBeUnknown:
		return "doubt", "each request that held it was answered, and no answer leaves it in doubt"
	case unknown && r.Settles:
		return "doubt", "nothing was given up, and a retry settles what is in doubt"
	case unknown:
		return "", ""
	case r.MustFail && !r.Permanent:
		return "not_failed", "the limits reject it, and nothing else happened"
	case r.MustArrive:
		return "undelivered", "no limit rejects it"
	}
	return "", ""
}

// MostRequests is how many Produce requests a write may take, without retries: a batch for
// each partition, as many more as a limit asks for, and a bisection for each bad record,
// whose ambiguous code is retried for ten seconds. It is some times what was measured: it
// finds loops.
func MostRequests(partitions, bytes, limit, records, bad int) float64 {
	return float64(partitions+4*bytes/limit) + float64(bad)*(10+4*math.Log2(float64(records)))
}

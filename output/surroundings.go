package output

import (
	"slices"
	"strconv"

	"github.com/redpanda-data/benthos/v4/public/service"
)

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

// sayWhatIsLost logs at the start what a config that works does not do, and
// where it is not obvious, which message goes where.
func sayWhatIsLost(conf *service.ParsedConfig, mgr *service.Resources, c clientConfig, deadLetter bool) error {
	log := mgr.Logger()
	switch c.acks {
	case acksLeader:
		log.Warnf("%s is %s: what the leader of a partition has acknowledged is lost if it fails before another replica has it, and counts as delivered all the same. With %q it does not", fieldAcks, c.acks, acksAll)
	case acksNone:
		log.Warnf("%s is %s: what is handed to the network counts as delivered. No refusal is heard of, so that what a broker refuses or loses is neither reported nor dead-lettered, but gone. With %q it is not", fieldAcks, c.acks, acksAll)
	}
	if !inFallback(mgr.Path()) {
		return nil
	}
	if deadLetter {
		log.Infof("%s takes the messages that failed for good. The fallback around this output gets the others that failed: those given up after %s.%s, and those that may have been written", fieldDeadLetter, fieldRetry, fieldRetryMaxElapsedTime)
		return nil
	}
	policy, err := conf.FieldBatchPolicy(fieldBatching)
	if err != nil {
		return err
	}
	if !policy.IsNoop() {
		log.Warnf("%s is set in an output of a fallback: when a message fails, the fallback gets with it all that came with it from the input, also what was delivered. Use %s, or batch at the input, and it is exact", fieldBatching, fieldDeadLetter)
	}
	return nil
}

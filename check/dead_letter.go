package check

import (
	"slices"
	"strings"

	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/errorrouting"
)

// compare warns of messages that failed in the source, come to this output, and fail
// here, too.
func (o *found) compare(source *found) {
	o.compareSize(source)
	o.compareFields(source)
}

// compareSize compares the size limit of the topic with that of the source's topic.
func (o *found) compareSize(source *found) {
	have, want := o.checked.maxBatchBytes, source.checked.maxBatchBytes
	if !source.handsOn(guard.SizeExceeded) {
		return
	}
	switch {
	case have == 0 || want == 0:
	case have > want:
		o.checked.add(fine, "size: as a dead-letter topic, %s takes larger messages (%d bytes) than topic %s (%d)", o.checked.topic, have, source.checked.topic, want)
	case o.onlyWay(source):
		o.checked.add(failing, "size: the dead-letter topic %s takes no larger messages (%d bytes) than topic %s (%d): what is too large for the one is too large for the other, and holds up its batch. Raise max.message.bytes of %s, give this output a dead_letter of its own, or make dead letters smaller with processors", o.checked.topic, have, source.checked.topic, want, o.checked.topic)
	default:
		o.checked.add(doubtful, "size: the dead-letter topic %s takes no larger messages (%d bytes) than topic %s (%d): make sure that what is too large gets there smaller, or goes elsewhere", o.checked.topic, have, source.checked.topic, want)
	}
}

// compareFields finds fields that depend on the message and are the same here and in
// the source. A message that failed because of such a field fails here, too.
func (o *found) compareFields(source *found) {
	for field, class := range map[string]guard.Class{
		"topic": guard.Unroutable, "partition": guard.Unroutable,
		"timestamp_ms": guard.InvalidRecord, "timestamp": guard.InvalidRecord,
	} {
		here, _ := o.fields[field].(string)
		there, _ := source.fields[field].(string)
		if here == "" || here != there || !strings.Contains(here, "${!") || !source.handsOn(class) {
			continue
		}
		severity := doubtful
		if o.onlyWay(source) {
			severity = failing
		}
		o.checked.add(severity, "%s: it is %s here as in the output whose dead letters these are: a message that is %s there for it is so here, and holds up its batch. Give dead letters another %s, or this output a dead_letter of its own", field, here, class, field)
	}
}

// handsOn reports whether failures of a class leave the output.
func (o *found) handsOn(class guard.Class) bool {
	classes, ok := o.fields["permanent"].([]any)
	return !ok || slices.Contains(classes, any(class.String()))
}

// onlyWay reports whether each dead letter of the source gets here unchanged, and has
// no other output.
func (o *found) onlyWay(source *found) bool {
	_, further := o.fields["dead_letter"]
	return o.path == source.path+"."+errorrouting.Component+".dead_letter" && !o.processed && !further
}

package demo

// exampleTopics are the topics that config/example.yaml writes to.
var exampleTopics = []string{"orders-eu", "orders-us"}

// kind is what is wrong with an order of config/example.yaml, if anything.
type kind int

const (
	good        kind = iota
	overTopic        // over the limit of the example's topics
	overDefault      // over the default limit of topics and clients too
	illegalTopic
	kinds
)

// kindOf returns the kind of the order with the ID. It repeats the arithmetic of the
// mapping in config/example.yaml, so that messages need not carry their kind.
func kindOf(id int, poison float64) kind {
	if float64(id*7919%10000) >= poison*10000 {
		return good
	}
	switch {
	case id%5 == 0:
		return illegalTopic
	case id%10 == 1:
		return overDefault
	default:
		return overTopic
	}
}

// topicOf returns the topic that a good order with the ID goes to.
func topicOf(id int) string { return exampleTopics[id%2] }

// The classes of failure in the example.
const (
	sizeExceeded = "size_exceeded"
	unroutable   = "unroutable"
)

// class returns the failure class that an order of the kind must have, and none for a
// good one.
func (k kind) class() string {
	switch k {
	case overTopic, overDefault:
		return sizeExceeded
	case illegalTopic:
		return unroutable
	default:
		return ""
	}
}

// fileOf returns the file that an order with a failure of the class goes to.
func fileOf(class string) string {
	if class == sizeExceeded {
		return tooLargeFile
	}
	return rejectedFile
}

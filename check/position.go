package check

import "github.com/kafka-guarded/kafka-guarded/internal/errorrouting"

// position warns of what can go wrong with the output at its position in the config.
func (k *checker) position(around errorrouting.Output) {
	if around.Stalls != "" {
		k.add(failing, "dead letters: %s waits for a number of messages, of which there may never be enough while their batch waits for it: set its period", around.Stalls)
	}
	for _, warning := range k.view.Warnings(around) {
		k.add(doubtful, "config: %s", warning)
	}
}

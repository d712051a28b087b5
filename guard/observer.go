package guard

// Observer hears what a Guard does. Its methods are called outside of all locks, so that they
// may call the Guard, and must return soon. Embed [NoObserver] for those that do not matter.
type Observer interface {
	// OnRules is called with what the cluster reports of a topic: once it is read, and
	// when it has changed. Old is nil the first time, now when the topic is forgotten
	// after an hour without use.
	OnRules(old, now *Rules)
	// OnDifference is called when the broker took a record that a reported limit of its
	// topic rejects. That limit is not believed as long as it is reported with the same
	// value.
	OnDifference(Difference)
	// OnLearned is called when the size in bytes is learned from which on records of a
	// topic are rejected whose limits are not reported.
	OnLearned(topic string, bytes int)
	// OnRetry is called when records that failed with a class are sent again.
	OnRetry(class Class, records int)
	// OnWaiting is called when records are held, or have waited for 10 seconds for
	// anything else, once a minute while they do, and when none does any more.
	OnWaiting(Waiting)
	// OnWaits is called with how many records wait for a reason, see Waiting.Why,
	// whenever that changes.
	OnWaits(why string, records int)
}

// NoObserver is an Observer that ignores everything.
type NoObserver struct{}

// OnRules does nothing.
func (NoObserver) OnRules(_, _ *Rules) {}

// OnDifference does nothing.
func (NoObserver) OnDifference(Difference) {}

// OnLearned does nothing.
func (NoObserver) OnLearned(string, int) {}

// OnRetry does nothing.
func (NoObserver) OnRetry(Class, int) {}

// OnWaiting does nothing.
func (NoObserver) OnWaiting(Waiting) {}

// OnWaits does nothing.
func (NoObserver) OnWaits(string, int) {}

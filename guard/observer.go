package guard

// Observer is called with what a Guard does. Its methods are called without locks, so
// they may call the Guard. They must return soon. Embed [NoObserver] for methods that
// you leave out.
type Observer interface {
	// OnRules is called with the limits that the cluster reports for a topic, the first
	// time and when they have changed. Old is nil the first time. Now is nil when the
	// topic is forgotten, after an hour without use.
	OnRules(old, now *Rules)
	// OnDifference is called when the broker accepted a record that a reported limit of
	// its topic rejects. Guard ignores that limit as long as it is reported with the
	// same value.
	OnDifference(Difference)
	// OnLearned is called for a topic whose limits are not reported. bytes is the size
	// from which on its records are rejected.
	OnLearned(topic string, bytes int)
	// OnRetry is called when records that failed with a class are sent again.
	OnRetry(class Class, records int)
	// OnWaiting is called when records are held, or have waited for 10 seconds for
	// another reason. It is called again each minute, and once when none waits.
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

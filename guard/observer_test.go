package guard

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// writesToo is an Observer that writes, the first time that no record waits any more.
type writesToo struct {
	NoObserver
	once  sync.Once
	write func()
}

func (w *writesToo) OnWaits(_ string, records int) {
	if records == 0 {
		w.once.Do(w.write)
	}
}

// An Observer may call the Guard that it observes.
func TestAnObserverMayWrite(t *testing.T) {
	t.Parallel()
	c := kafkafake.StartDialect(t, kafkafake.Kafka(), nil)
	c.Topic("t", 1)
	o := &writesToo{}
	g := newGuard(t, c, Config{Retry: Retry{InitialInterval: time.Millisecond}, Observer: o})
	mine := records("t", "more", 1, 10)
	rs := records("t", "r", 5, 10)
	type written struct {
		records  []*kgo.Record
		verdicts []Verdict
	}
	done := make(chan written, 2)
	o.write = func() { done <- written{mine, g.Write(t.Context(), mine)} }
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed})
	go func() { done <- written{rs, g.Write(t.Context(), rs)} }()
	for range 2 {
		select {
		case w := <-done:
			account(t, c, w.records, w.verdicts)
		case <-time.After(5 * time.Minute):
			t.Fatal("a write has not returned")
		}
	}
}

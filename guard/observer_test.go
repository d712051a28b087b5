package guard

import (
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

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
	done := make(chan struct{}, 2)
	o.write = func() {
		account(t, c, mine, g.Write(t.Context(), mine))
		done <- struct{}{}
	}
	c.AddFault(kafkafake.Fault{Do: kafkafake.Refuse, Code: kerr.TopicAuthorizationFailed})
	rs := records("t", "r", 5, 10)
	go func() {
		account(t, c, rs, g.Write(t.Context(), rs))
		done <- struct{}{}
	}()
	for range 2 {
		select {
		case <-done:
		case <-time.After(5 * time.Minute):
			t.Fatal("a write has not returned")
		}
	}
}

//go:build linux || darwin

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

func TestStreamOfComposeDelivers(t *testing.T) {
	t.Parallel()
	fake := kafkafake.New(t)
	fake.Topic("orders", 3)
	fake.Topic("orders-dead-letters", 1, "max.message.bytes=8388608") // as compose.yaml makes them
	run(t, program([]string{"KAFKA_BROKERS=" + strings.Join(fake.ListenAddrs(), ",")}, "run", "--set", "http.enabled=false", "../deploy/stream.yaml"))
	deadline := time.Now().Add(patience)
	for len(fake.Log("orders-dead-letters")) == 0 {
		require.True(t, time.Now().Before(deadline), "no dead letter within %v", patience)
		time.Sleep(50 * time.Millisecond)
	}
	letter := fake.Log("orders-dead-letters")[0]
	headers := map[string]string{}
	for _, h := range letter.Headers {
		headers[h.Key] = string(h.Value)
	}
	require.Equal(t, "size_exceeded", headers["kafka_guarded_class"])
	require.Equal(t, headers["kafka_guarded_key"], string(letter.Key))
	require.NotEmpty(t, fake.Log("orders"))
}

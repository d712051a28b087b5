package config_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// Benthos makes metadata of the path, of the query and of cookies alike, the last
// over the others.
func TestHTTPGatewayTakesTheTopicFromThePathAlone(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 30*time.Second, 20*time.Second)
	c.Topic("t", 1)
	c.Topic("other", 1)
	post := func(topic string, headers ...string) (int, string) {
		status, _, text, err := g.Post(t.Context(), topic, "application/json", `[ 1 ]`, headers...)
		require.NoError(t, err)
		return status, text
	}
	for _, cookie := range []string{"topic=other", "http_server_request_path=/topics/other", "Cookie=", "a=b"} {
		status, text := post("t", "Cookie", cookie)
		require.Equal(t, http.StatusUnprocessableEntity, status, text)
		require.Contains(t, text, "cookies are not taken")
	}
	require.Empty(t, c.Log("t"))
	status, text := post("t?topic=other&key=other&tombstone=true", "Key", "other", "Topic", "other")
	require.Equal(t, http.StatusOK, status, text)
	require.Empty(t, c.Log("other"))
	log := c.Log("t")
	require.Len(t, log, 1)
	require.Nil(t, log[0].Key)
	require.Equal(t, "1", string(log[0].Value))
}

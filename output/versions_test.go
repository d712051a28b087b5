package output

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

// closesOnNewest makes the brokers close the connection on the newest ApiVersions
// request, as Azure Event Hubs and Tansu do, until mend is called.
func closesOnNewest(c *kafkafake.Cluster) (mend func()) {
	var mended atomic.Bool
	c.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if req.(*kmsg.ApiVersionsRequest).ClusterID != nil && !mended.Load() {
			return nil, errors.New("the connection is closed"), true
		}
		return nil, nil, false
	})
	return func() { mended.Store(true) }
}

func TestBrokersThatCloseOnTheNewestVersions(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	mend := closesOnNewest(c.Cluster)
	const said = "Brokers close the connection on an ApiVersions request of version 5 (KIP-1242), and answer to older ones: set max_versions to v"

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := &streamtest.Stream{Batches: [][]string{{"a"}}, Hear: func(line string) {
		if strings.Contains(line, said) {
			cancel()
		}
	}}
	require.False(t, s.Run(t, ctx, c.alone("topic: t", "dead_letter: { drop: {} }")))
	require.Equal(t, 1, s.Log.Count("level=ERROR", said), s.Log.String())

	s = &streamtest.Stream{Batches: [][]string{{"b"}}}
	require.True(t, s.Run(t, t.Context(), c.alone("topic: t", "dead_letter: { drop: {} }", "max_versions: "+OlderVersions)))
	require.Zero(t, s.Log.Count("KIP-1242"))
	mend() // else the reader's connection is closed, too
	require.Equal(t, once("b"), c.Values("t"))
}

func TestMaxVersionsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"latest", "v0.10.2", "99.9"} {
		require.ErrorContains(t, refusal("seed_brokers: [ a ]\ntopic: t\nmax_versions: '"+text+"'"), `max_versions is "`+text+`", it must be a version of Kafka from v0.11.0 to v`)
	}
	for _, text := range []string{"v0.11.0", "2.8", "v3.9.1", OlderVersions} {
		require.NoError(t, refusal("seed_brokers: [ a ]\ntopic: t\nmax_versions: '"+text+"'"))
	}
}

package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-guarded/kafka-guarded/internal/gatewaytest"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
)

// recordsOf returns a topic's records by partition/offset.
func recordsOf(c *kafkafake.Cluster, topic string) map[string]*kgo.Record {
	m := map[string]*kgo.Record{}
	for _, r := range c.Log(topic) {
		m[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] = r
	}
	return m
}

func TestHTTPGatewayBodies(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 5*time.Minute, 4*time.Minute)
	c.Topic("t", 1, "max.message.bytes=2000")
	long := gatewaytest.Incompressible(3000)
	const array, lines = "application/json", "application/x-ndjson"
	for _, test := range []struct {
		name, topic, contentType, body string
		status                         int
		want                           []string // "" for a delivered record, else the beginning of its error
		values                         []string // of the delivered records
		keys                           []string
	}{
		{"an array", "t", array, `[ {"id": 1}, "two", 3, [4], true ]`, 200, []string{"", "", "", "", ""}, []string{`{"id":1}`, "two", "3", "[4]", "true"}, nil},
		{"records", "t", array, `{ "records": [ {"key": "a", "value": {"id": 1}}, {"key": 7, "value": null} ] }`, 200, []string{"", ""}, []string{`{"id":1}`, ""}, []string{"a", "7"}},
		{"lines", "t", lines, "one\ntwo\n\nthree\n", 200, []string{"", "", ""}, []string{"one", "two", "three"}, nil},
		{"one is too large", "t", array, `[ "a", "` + long + `", "b" ]`, 200, []string{"", "size_exceeded: topic t partition 0:", ""}, []string{"a", "b"}, nil},
		{"all are too large", "t", array, `[ "` + long + `" ]`, 422, []string{"size_exceeded:"}, nil, nil},
		{"no such topic", "missing", array, `[ 1, 2 ]`, 422, []string{"unknown_topic: topic missing", "unknown_topic: topic missing"}, nil, nil},
		{"an illegal topic", "a:b", array, `[ 1 ]`, 422, []string{"unroutable:"}, nil, nil},
		{"a deep one", "t", array, `[ ` + strings.Repeat("[", 900) + strings.Repeat("]", 900) + ` ]`, 200, []string{""}, []string{strings.Repeat("[", 900) + strings.Repeat("]", 900)}, nil},
		{"one that is too deep", "t", array, strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), 422, nil, nil, nil},
		{"no JSON", "t", array, `[ 1, `, 422, nil, nil, nil},
		{"no array", "t", array, `{ "a": 1 }`, 422, nil, nil, nil},
		{"no records", "t", array, `[]`, 422, nil, nil, nil},
		{"no objects", "t", array, `{ "records": [ 1 ] }`, 422, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // they share a topic, on purpose
			status, results, text, err := g.Post(t.Context(), test.topic, test.contentType, test.body)
			require.NoError(t, err, text)
			require.Equal(t, test.status, status, text)
			require.Len(t, results, len(test.want), text)
			var there map[string]*kgo.Record
			if test.values != nil {
				there = recordsOf(c, test.topic)
			}
			for i, want := range test.want {
				r := results[i]
				if want != "" {
					require.Equal(t, 1, r.ErrorCode)
					require.True(t, strings.HasPrefix(r.Error, want), r.Error)
					require.Nil(t, r.Offset)
					continue
				}
				record := there[r.At()]
				require.NotNil(t, record, text)
				require.Equal(t, test.values[0], string(record.Value))
				test.values = test.values[1:]
				if test.keys == nil {
					require.Nil(t, record.Key)
					continue
				}
				require.Equal(t, test.keys[i], string(record.Key))
				require.Equal(t, i == 1, record.Value == nil, "a value of null is a tombstone")
			}
			if test.want == nil {
				require.Contains(t, text, "the body is no JSON array, no object with records, and no lines")
			}
		})
	}
}

// Many clients write at a time, and some disconnect. Each result is true, and each
// record is there once.
func TestHTTPGatewayResultsAreTrue(t *testing.T) {
	t.Parallel()
	requests := 2000
	if testing.Short() {
		requests = 500
	}
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 5*time.Minute, 4*time.Minute)
	c.Topic("t", 3, "max.message.bytes=2000")
	load := g.Load("t", 16, requests, 3000)
	topic := map[string]string{}
	for at, r := range recordsOf(c, "t") {
		topic[at] = string(r.Value)
	}
	require.Empty(t, load.Check(topic))
	require.NotZero(t, load.Gone, "no client went away")
	require.NotZero(t, load.Refused)
}

func TestHTTPGatewayWithoutKafka(t *testing.T) {
	t.Parallel()
	c := kafkafake.New(t)
	g := gatewaytest.Start(t, c.ListenAddrs()[0], 20*time.Second, 300*time.Millisecond)
	c.Topic("t", 1)
	require.Eventually(t, func() bool { // a busy machine may take longer than the gateway waits
		status, _, _, err := g.Post(t.Context(), "t", "application/json", `[ 1 ]`)
		return err == nil && status == 200
	}, 4*time.Minute, time.Millisecond)
	c.RefuseAll("t", kerr.NotEnoughReplicas)
	status, results, text, err := g.Post(t.Context(), "t", "application/json", `[ 2, 3 ]`)
	require.NoError(t, err)
	require.Equal(t, 503, status, text)
	require.Len(t, results, 2)
	for _, r := range results {
		require.Equal(t, 2, r.ErrorCode)
		require.True(t, strings.HasPrefix(r.Error, "transient:"), r.Error)
	}
}

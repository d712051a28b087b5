package output

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
)

func setConfig(name, value string) []kadm.AlterConfig {
	return []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: kmsg.StringPtr(value)}}
}

func TestSeedBrokersMayBeCommaLists(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Topic("t", 1)
	conf, err := Spec().ParseYAML("topic: t\nseed_brokers: [ '127.0.0.1:1, "+c.ListenAddrs()[0]+"' ]\n", nil)
	require.NoError(t, err)
	o, err := newOutput(conf, conf.Resources())
	require.NoError(t, err)
	require.NoError(t, o.Connect(t.Context()))
	require.NoError(t, o.WriteBatch(t.Context(), streamtest.Batch("a")))
	require.NoError(t, o.Close(t.Context()))
}

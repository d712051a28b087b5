package output

import (
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/bloblang"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/streamtest"
	"github.com/kafka-guarded/kafka-guarded/internal/wrongconfigs"
)

func TestWrongConfigsAreToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, test := range wrongconfigs.All {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			said := lints(t, test.YAML)
			require.ElementsMatch(t, append(test.Both[:len(test.Both):len(test.Both)], test.Benthos...), said)
			want := test.Start
			if want == "" {
				want = strings.Join(test.Both, "; ")
			}
			err := refusal(wrongconfigs.Whole(test.YAML))
			if want == "" {
				require.NoError(t, err, "only the linter sees it")
				require.Equal(t, test.Fine, len(said) == 0)
				return
			}
			require.EqualError(t, err, want)
			require.NotContains(t, err.Error()+strings.Join(said, ""), "S3cr3tPW")
		})
	}
}

// broker_write_max_bytes may be below kgo's default size of a batch.
func TestRequestsMayBeSmall(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"1024", "10kB", "1MB"} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.Topic("t", 1)
			o := c.output("topic: t", "broker_write_max_bytes: "+limit)
			failed, _ := failures(t, o, streamtest.Batch("a", strings.Repeat("b", 1<<20), "c"))
			require.Len(t, failed, 1)
			require.Contains(t, failed[1], "size_exceeded: ")
			require.Equal(t, once("a", "c"), c.Values("t"))
		})
	}
}

// A program's environment may have functions of its own. The linter must know them.
func TestLintsGoByTheEnvironment(t *testing.T) {
	t.Parallel()
	own := bloblang.NewEnvironment()
	require.NoError(t, own.RegisterMethodV2("own", bloblang.NewPluginSpec(), func(*bloblang.ParsedParams) (bloblang.Method, error) {
		return bloblang.StringMethod(func(s string) (any, error) { return s + "!", nil }), nil
	}))
	env := service.NewEnvironment()
	env.UseBloblangEnvironment(own)
	b := env.NewStreamBuilder()
	require.NoError(t, b.AddOutputYAML(`kafka_guarded: { seed_brokers: [ a:1 ], topic: t, key: '${! content().string().own() }', null_key: 'this.id.own() == "!"' }`))
	require.ErrorContains(t, b.AddOutputYAML(`kafka_guarded: { seed_brokers: [ a:1 ], topic: t, key: '${! content().string().other() }' }`), "unrecognised method 'other'")
}

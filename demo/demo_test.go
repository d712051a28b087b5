package demo

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/deliverycheck"
)

func TestExampleAccountsForEveryMessage(t *testing.T) {
	t.Parallel()
	for _, recipe := range append([]string{""}, Recipes...) {
		t.Run("recipe "+recipe, func(t *testing.T) {
			t.Parallel()
			accountsForEveryMessage(t, recipe)
		})
	}
}

func accountsForEveryMessage(t *testing.T, recipe string) {
	const messages, poison = 2000, 0.01
	var out strings.Builder
	got, err := Example(t.Context(), Options{Messages: messages, Poison: poison, Recipe: recipe, Out: &out})
	require.NoError(t, err, out.String())
	want := map[string]int{}
	bad := 0
	for id := 1; id <= messages; id++ {
		if class := kindOf(id, poison).class(); class != "" {
			want[class]++
			bad++
		}
	}
	require.Positive(t, want[sizeExceeded])
	require.Positive(t, want[unroutable])
	for _, k := range []kind{overTopic, overDefault, illegalTopic} {
		require.True(t, strings.HasPrefix(got.texts[k], k.class()+": "), got.texts[k])
		require.Contains(t, out.String(), got.texts[k])
	}
	require.Equal(t, deliverycheck.Tally{Sent: messages, Delivered: messages - bad, Dead: want}, got.Tally)
	require.Contains(t, out.String(), "What next")
}

func TestExampleWithoutPoison(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	got, err := Example(t.Context(), Options{Messages: 100, Out: &out})
	require.NoError(t, err)
	require.Equal(t, deliverycheck.Tally{Sent: 100, Delivered: 100, Dead: map[string]int{}}, got.Tally)
}

func TestExampleStopsWhenInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Example(ctx, Options{Messages: 100_000_000, Out: onWrite(cancel)})
	require.ErrorIs(t, err, errInterrupted)
}

// onWrite is a writer that calls the function.
type onWrite func()

func (f onWrite) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}

func TestExampleRefusesBadOptions(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Messages: -1}, {Messages: 1, Poison: -0.1}, {Messages: 1, Poison: 1.1}, {Messages: 1, Recipe: "cake"}} {
		_, err := Example(t.Context(), o)
		require.Error(t, err, "%+v", o)
	}
}

const ownConfig = `
input:
  generate:
    count: ${MESSAGES:20}
    interval: ""
    batch_size: 10
    mapping: 'root = "value-%d-".format(counter()) + "x".repeat(200)'
output:
  kafka_guarded:
    seed_brokers: [ "${KAFKA_BROKERS}" ]
    topic: mine
`

func writeConfig(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
	return path
}

func TestOwnPrintsTheTopics(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, Own(t.Context(), Options{Out: &out}, writeConfig(t, ownConfig), map[string]string{"MESSAGES": "30"}))
	require.Contains(t, out.String(), "mine: 30 records in 4 partitions (")
	require.Contains(t, out.String(), "\n  value-")
	require.Contains(t, out.String(), "xxx...\n")
	require.NotContains(t, out.String(), strings.Repeat("x", 150))
}

func TestOwnPrintsTheTopicsOfAConfigWithoutEnd(t *testing.T) {
	t.Parallel()
	endless := strings.Replace(ownConfig, `interval: ""`, "interval: 1ms", 1)
	var out strings.Builder
	// It prints the topics when it is interrupted, and a busy machine may have
	// written nothing by then.
	for wait := 500 * time.Millisecond; wait < 4*time.Minute && !strings.Contains(out.String(), "mine: "); wait *= 2 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		require.NoError(t, Own(ctx, Options{Out: &out}, writeConfig(t, endless), map[string]string{"MESSAGES": "0"}))
		cancel()
	}
	require.Contains(t, out.String(), "mine: ")
}

func TestOwnRefusesConfigs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ yaml, want string }{
		"with a typo":         {strings.Replace(ownConfig, "topic:", "topik:", 1), "topik"},
		"without the brokers": {strings.Replace(ownConfig, "${KAFKA_BROKERS}", "localhost:1", 1), "KAFKA_BROKERS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			require.ErrorContains(t, Own(t.Context(), Options{Out: &out}, writeConfig(t, test.yaml), nil), test.want)
			require.Empty(t, out.String())
		})
	}
	require.ErrorIs(t, Own(t.Context(), Options{}, "missing.yaml", nil), os.ErrNotExist)
}

func TestShort(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"plain":                       "plain",
		"":                            "",
		"two\nlines":                  `"two\nlines"`,
		"\xff":                        `"\xff"`,
		strings.Repeat("\u00e4", 101): strings.Repeat("\u00e4", 100) + "...",
	} {
		require.Equal(t, want, short([]byte(value)))
	}
	require.Equal(t, "null", short(nil))
}

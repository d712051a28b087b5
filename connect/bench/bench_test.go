//go:build linux || darwin

package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestMain makes the test binary the program, where the program starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestStatOfIsTheMedianAndTheRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   stat
	}{
		{[]float64{3}, stat{3, 3, 3}},
		{[]float64{5, 1, 2}, stat{2, 1, 5}},
		{[]float64{5, 1, 2, 4}, stat{3, 1, 5}},
	} {
		got, ok := statOf(c.values)
		require.True(t, ok)
		require.Equal(t, c.want, got)
	}
	_, ok := statOf(nil)
	require.False(t, ok)
}

// made is a run with so many messages per second.
func made(row string, round int, perSecond float64) sample {
	return sample{
		key:         key{"base", blackhole, row},
		Round:       round,
		measurement: measurement{Messages: 1000, Sent: 1200, Good: 1200, Seconds: 1000 / perSecond, CPU: 1},
		Arrived:     1200,
		Wall:        1,
	}
}

// twoRounds has a row that is three times as fast as its rival in one round, twice as
// fast in another, and alone in a third.
var twoRounds = samples{
	made(guarded, 0, 3000), made(franz, 0, 1000),
	made(guarded, 1, 200), made(franz, 1, 100),
	made(guarded, 2, 9000),
}

func TestRatioIsThatOfTheSameRound(t *testing.T) {
	t.Parallel()
	got, ok := twoRounds.ratio(key{"base", blackhole, guarded}, key{}, key{"base", blackhole, franz}, rate)
	require.True(t, ok)
	require.InDelta(t, 2.5, got.median, 1e-9)
	require.InDelta(t, 2, got.min, 1e-9)
	require.InDelta(t, 3, got.max, 1e-9)
	byGoal, ok := goalOf(t, "rate to kafka_franz", "base").measured(twoRounds, blackhole)
	require.True(t, ok)
	require.Equal(t, got, byGoal)
	require.True(t, goalOf(t, "rate to kafka_franz", "base").met(byGoal))
	_, ok = goalOf(t, "rate to kafka_franz", "base").measured(twoRounds, kafka)
	require.False(t, ok)
}

func TestRateCountsWhatArrivedAndShould(t *testing.T) {
	t.Parallel()
	s := made(franz, 0, 1000)
	s.Arrived = 600
	require.InDelta(t, 500, rate(s), 1e-9)
	s.Arrived = 1300 // with duplicates
	require.InDelta(t, 1000, rate(s), 1e-9)
	s.Good, s.Arrived = 900, 900 // the other 100 are bad
	require.InDelta(t, 750, rate(s), 1e-9)
}

func TestGoalsAreOfRowsThatThereAre(t *testing.T) {
	t.Parallel()
	rows := map[string]map[string]bool{}
	for _, s := range scenarios {
		rows[s.name] = map[string]bool{"": true}
		for _, r := range s.rows {
			require.False(t, rows[s.name][r.title()], "%s twice in %s", r.title(), s.name)
			rows[s.name][r.title()] = true
		}
		require.True(t, rows[s.name][s.against], "%s in %s", s.against, s.name)
	}
	for _, g := range goals {
		for _, row := range []string{g.row, g.to, g.less} {
			require.True(t, rows[g.scenario][row], "%s in %s", row, g.scenario)
		}
		require.NotEqual(t, g.atLeast > 0, g.atMost > 0, "%s in %s", g.text, g.scenario)
	}
}

func TestReportKeepsTheProse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "performance.md")
	runs := [][]string{{"row", "round"}, {"kafka_guarded", "1"}}
	require.NoError(t, write(file, "one", "<svg/>", runs))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "# Performance\n\n<!-- bench:begin -->\n\none\n\n<!-- bench:end -->\n", string(b))

	require.NoError(t, os.WriteFile(file, []byte("before "+string(b)+"after\n"), 0o600))
	require.NoError(t, write(file, "two", "", runs))
	b, err = os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "before # Performance\n\n<!-- bench:begin -->\n\ntwo\n\n<!-- bench:end -->\nafter\n", string(b))
	b, err = os.ReadFile(filepath.Join(filepath.Dir(file), "performance.svg"))
	require.NoError(t, err)
	require.Equal(t, "<svg/>", string(b))
	b, err = os.ReadFile(filepath.Join(filepath.Dir(file), "performance.csv"))
	require.NoError(t, err)
	require.Equal(t, "row,round\nkafka_guarded,1\n", string(b))
	b, err = os.ReadFile(filepath.Join(filepath.Dir(file), "performance.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"columns": ["row", "round"], "data": [["kafka_guarded", 1]]}`, string(b))

	_, err = splice(endMark+beginMark, "")
	require.ErrorContains(t, err, "in this order")
	_, err = splice(beginMark, "")
	require.ErrorContains(t, err, "needs both")
}

func TestReportHasATableAndGoals(t *testing.T) {
	t.Parallel()
	r := results{Runs: []runInfo{{Rounds: 3}}, Samples: twoRounds}
	report := r.report()
	require.Contains(t, report, "| base | rate to kafka_franz | blackhole | at least 1.3 | 2.50 (2.00-3.00) | yes |\n")
	require.Contains(t, report, "### base, on blackhole (rounds: 3)\n")
	require.Contains(t, report, "| kafka_guarded | 3.00 (0.20-9.00) | 2.50 (2.00-3.00) | 1000 |")
	require.Contains(t, report, "| all |\n")
	require.NotContains(t, report, "on kafka (")
}

func TestPlotIsXML(t *testing.T) {
	t.Parallel()
	require.Empty(t, plot(nil))
	svg := plot(twoRounds)
	require.Contains(t, svg, ">kafka_guarded</text>")
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestEveryConfigLints(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		for _, r := range s.rows {
			if writers[r.runner] != nil {
				continue
			}
			j := job{Runner: r.runner, Load: base.with(s.change).with(r.change), Brokers: []string{"localhost:9092"}, Topic: "bench"}
			config, err := j.config(1000)
			require.NoError(t, err)
			_, err = build(service.GlobalEnvironment(), config)
			require.NoError(t, err, "%s, %s", s.name, r.title())
		}
	}
}

func TestRunsOfEveryRunnerArrive(t *testing.T) {
	t.Parallel()
	broker, err := start(t.Context(), blackhole, map[string]*cluster{})
	require.NoError(t, err)
	t.Cleanup(broker.stop)
	for _, r := range append([]row{{runner: guardWrite}}, everyone...) {
		t.Run(r.title(), func(t *testing.T) {
			t.Parallel()
			l := base
			l.Batch, l.Topics, l.Texts = 20, 2, 3
			j := job{Runner: r.runner, Load: l, Brokers: broker.brokers, Topic: regexp.MustCompile(`\W`).ReplaceAllString(t.Name(), "-"), Count: 300}
			topics := l.topics(j.Topic)
			require.NoError(t, broker.create(t.Context(), topics, l))
			in, err := json.Marshal(j)
			require.NoError(t, err)
			var out bytes.Buffer
			require.NoError(t, child(t.Context(), bytes.NewReader(in), &out))
			var m measurement
			require.NoError(t, json.Unmarshal(out.Bytes(), &m))
			require.Equal(t, 300-j.few(), m.Messages)
			require.Equal(t, 300+2*j.few(), m.Good)
			require.Positive(t, m.PeakRSS)
			n, err := broker.arrived(t.Context(), topics)
			require.NoError(t, err)
			if r.runner == drop {
				m.Good = 0
			}
			require.Equal(t, m.Good, n)
		})
	}
}

func TestBenchMeasuresInProcessesOfItsOwn(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-short", "-targets=blackhole", "-run=1 % poison", "-runners=kafka_guarded|kafka_franz", "-env=GOGC=200"})
	require.NoError(t, err)
	all, err := o.measure(t.Context())
	require.NoError(t, err)
	require.Len(t, all, len(poisoned))
	for _, s := range all {
		if s.Row != franz {
			require.Equal(t, s.Good, s.Arrived, s.Row)
		}
	}
	require.Contains(t, o.command, "-env=GOGC=200")
}

func TestRunsOfOtherCodeDoNotMix(t *testing.T) {
	t.Parallel()
	run := func(code string, of ...sample) results {
		return results{Runs: []runInfo{{Code: code}}, Samples: of}
	}
	older := run("a", made(guarded, 0, 1000), made(franz, 0, 1000))
	file := filepath.Join(t.TempDir(), "runs.json")
	require.NoError(t, older.write(file))
	older, err := readResults(file)
	require.NoError(t, err)
	same := older.and(run("a", made(guarded, 0, 3000)))
	require.Len(t, same.Samples, 3)
	require.Equal(t, 1, same.Samples[2].Round)
	require.Len(t, older.and(run("b", made(guarded, 0, 3000))).Samples, 1)
}

func TestFramesAreRequests(t *testing.T) {
	t.Parallel()
	var keys []int16
	f := frames{seen: func(key int16) { keys = append(keys, key) }}
	sent := []byte{0, 0, 0, 5, 0, 0, 7, 7, 7, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3, 0, 0, 7}
	for i := range sent {
		f.look(sent[i : i+1])
	}
	f.look(sent)
	require.Equal(t, []int16{0, 3, 0, 0, 3, 0}, keys)
}

func TestDelaysCountFromTheSchedule(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	all := []arrival{{at(0), at(1)}, {at(10), at(1010)}, {at(500), at(1011)}, {at(1020), at(1021)}}
	d := delays(all, at(5).UnixNano(), at(2000).UnixNano())
	require.InDelta(t, 511, d.P50, 1e-9)
	require.InDelta(t, 1000, d.Most, 1e-9)
	gone, silence := recovery(all, at(1000))
	require.InDelta(t, 0.011, gone, 1e-9)
	require.InDelta(t, 1.009, silence, 1e-9)
}

// A paced run writes to a broker that stores, keeps to the schedule, and is read back.
func TestAScheduleIsKeptAndRead(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	broker := &target{place: place{name: kafka}, brokers: c.ListenAddrs(), cluster: &cluster{direct: c.ListenAddrs(), client: client, admin: kadm.NewClient(client)}}
	o, err := parse([]string{"-short"})
	require.NoError(t, err)
	s := scenario{name: eachMs, kind: paced, change: everyMs, rows: outputs}
	for _, r := range outputs {
		got, err := trial{options: o, table: table{s, broker, outputs}, row: r}.run(t.Context(), map[key]int{})
		require.NoError(t, err, r.title())
		require.Equal(t, 1200, got.Sent)
		require.Equal(t, 1200, got.Arrived)
		require.Positive(t, got.Acked.P50)
		require.GreaterOrEqual(t, got.Consumed.Most, got.Consumed.P50)
		require.Positive(t, got.Consumed.P50)
	}
}

func goalOf(t *testing.T, text, scenario string) goal {
	t.Helper()
	at := slices.IndexFunc(goals, func(g goal) bool { return g.text == text && g.scenario == scenario })
	require.GreaterOrEqual(t, at, 0)
	return goals[at]
}

func TestSummaryHasFiguresAndWhatIsNotMet(t *testing.T) {
	t.Parallel()
	s := options{}.summary(results{Samples: twoRounds})
	require.Contains(t, s, "Every run is in [performance.csv](performance.csv) and in [performance.json](performance.json).")
	require.Contains(t, s, "| base | peak RSS to kafka_franz | blackhole |")
	require.NotContains(t, s, "| base | rate to kafka_franz |", "it is met")
	for _, line := range strings.Split(s, "\n") {
		require.LessOrEqual(t, len(line), 300)
	}
	require.Equal(t, len(twoRounds)+1, strings.Count(asCSV(rawTable(twoRounds)), "\n"))
}

// The two files of docs/ have the same runs.
func TestTheRunsAsJSONAreThoseOfTheCSV(t *testing.T) {
	t.Parallel()
	lines, err := os.ReadFile("../../docs/performance.csv")
	require.NoError(t, err)
	table, err := csv.NewReader(bytes.NewReader(lines)).ReadAll()
	require.NoError(t, err)
	runs, err := os.ReadFile("../../docs/performance.json")
	require.NoError(t, err)
	require.Equal(t, asJSON(table), string(runs))

	var read struct {
		Columns []string
		Data    [][]any
	}
	require.NoError(t, json.Unmarshal(runs, &read))
	require.Equal(t, table[0], read.Columns)
	require.Len(t, read.Data, len(table)-1)
	require.JSONEq(t, `{"columns": ["p50"], "data": [[null], [0.5]]}`, asJSON([][]string{{"p50"}, {"NaN"}, {"0.5"}}))
}

//go:build linux || darwin

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

var update = flag.Bool("update", false, "rewrite docs/dashboard.svg from this run")

// endpoint is an HTTP server that can be down.
type endpoint struct {
	*httptest.Server
	up atomic.Bool
}

func newEndpoint(t *testing.T) *endpoint {
	s := &endpoint{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !s.up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *endpoint) output() string {
	return fmt.Sprintf("{ http_client: { url: %s, retries: 0 } }", s.URL)
}

// faulty is a stream with a fault that can be mended.
type faulty struct {
	alert  string
	fields string // of the output
	mend   func()
	next   string // YAML of the next output of a fallback around it, "" for none
}

// output returns the YAML of the output.
func (t faulty) output() string {
	label := strings.ToLower(strings.TrimPrefix(t.alert, "KafkaGuarded"))
	if t.next == "" {
		return fmt.Sprintf("output:\n  label: %s\n  kafka_guarded: { %s, compression: none }", label, t.fields)
	}
	return fmt.Sprintf("output:\n  fallback:\n    - label: %s\n      kafka_guarded: { %s, compression: none }\n    - %s", label, t.fields, t.next)
}

// Each alert fires while there is a reason, and then clears. Each query of the
// dashboard has a series to show.
func TestAlertsFireAndClear(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it starts a real Kafka node and Prometheus: run it without -short")
	}
	if _, err := exec.LookPath("prometheus"); err != nil {
		t.Skip("it needs prometheus, of Debian's package of this name")
	}
	const user, password = "alice", "secret"
	kafka := kafkatest.Start(t, kafkatest.Options{SASL: []string{kafkatest.Plain}, Users: map[string]string{user: password}, ACLs: true})
	connection := fmt.Sprintf("seed_brokers: [ %q ], sasl: [ { mechanism: PLAIN, username: %s, password: %s } ]",
		kafka.ClientAddr(1), user, password)
	allow := func(topic string, ops ...kadm.ACLOperation) {
		for _, op := range ops {
			kafka.Grant("User:"+user, op, kafkatest.TopicResource(topic))
		}
	}
	topic := func(name string, ops ...kadm.ACLOperation) {
		kafka.CreateTopic(name, 1, 1, map[string]string{"max.message.bytes": "20000"})
		allow(name, ops...)
	}
	allow("missing", kadm.OpWrite, kadm.OpDescribe)
	topic("denied")
	topic("known", kadm.OpWrite, kadm.OpDescribeConfigs)
	topic("learned", kadm.OpWrite)
	topic("unsure", kadm.OpWrite, kadm.OpDescribeConfigs)

	kafka.SetQuota(user, "throttled", 500) // bytes a second

	fake := kafkafake.New(t)
	fake.Topic("refused", 1)
	refusal := fake.RefuseAll("refused", kerr.PolicyViolation)

	later := freePort(t) // of a broker that starts later

	p := newPrometheus(t)
	resume := p.write("resume", "no")
	source := p.write("source", "good") // the topic that the sources write to
	letters, reports := newEndpoint(t), newEndpoint(t)
	faults := []faulty{
		{alert: "KafkaGuardedFailed", fields: connection + ", topic: known", next: "drop: {}"},
		{alert: "KafkaGuardedKafkaAway", fields: fmt.Sprintf("seed_brokers: [ '127.0.0.1:%d' ], topic: later", later), mend: func() {
			kafkafake.New(t, kfake.NumBrokers(1), kfake.Ports(later)).Topic("later", 1)
		}},
		{alert: "KafkaGuardedTopicMissing", fields: connection + ", topic: missing, retry: { max_interval: 500ms }", mend: func() { topic("missing") }},
		{alert: "KafkaGuardedRightMissing", fields: connection + ", topic: denied, retry: { max_interval: 500ms }", mend: func() { allow("denied", kadm.OpWrite) }},
		{alert: "KafkaGuardedRefused", fields: fmt.Sprintf("seed_brokers: [ %q ], topic: refused, retry: { max_interval: 500ms }", strings.Join(fake.ListenAddrs(), ",")), mend: refusal.Remove},
		{alert: "KafkaGuardedDeadLetters", fields: connection + ", topic: known, dead_letter: { drop: {} }"},
		{alert: "KafkaGuardedLimitsLearned", fields: connection + ", topic: learned, dead_letter: { drop: {} }"},
		{alert: "KafkaGuardedDeadLettersDown", fields: connection + ", topic: known, dead_letter: " + letters.output(), mend: func() { letters.up.Store(true) }},
		{alert: "KafkaGuardedBreakerOpen", fields: connection + fmt.Sprintf(`, topic: known, dead_letter: { drop: {} }, dead_letter_breaker: { enabled: true, messages: 20, max_failed_share: 0.05, resume: 'file(path: "%s", no_cache: true).string() == "yes"' }`, resume), mend: func() { p.write("resume", "yes") }},
		{alert: "KafkaGuardedReportsLost", fields: connection + ", topic: known, dead_letter: { drop: {} }, delivery_report_max_elapsed_time: 100ms, delivery_report: " + reports.output(), mend: func() { reports.up.Store(true) }},
		{alert: "KafkaGuardedThrottled", fields: connection + ", topic: known, client_id: throttled, dead_letter: { drop: {} }", mend: func() { kafka.SetQuota(user, "throttled", 1e9) }},
		{alert: "KafkaGuardedUncertain", fields: connection + ", topic: unsure, retry: { max_elapsed_time: 3s }, dead_letter: { drop: {} }"},
	}

	for i, faulty := range faults {
		p.watch(fmt.Sprintf(`
http: { address: "127.0.0.1:%d" }
input:
  generate:
    interval: 100ms
    batch_size: 5
    mapping: |
      let poison = %t && counter() %% 10 == 0 && file(path: "%s", no_cache: true).string() == "poison"
      root = if $poison { "x".repeat(30000) } else { "content" }
%s
metrics: { prometheus: {} }
logger: { level: ERROR }
`, p.port(i), faulty.next != "" || strings.Contains(faulty.fields, "dead_letter"), source, faulty.output()))
	}
	p.start()
	began := time.Now()
	p.write("source", "poison")

	for _, faulty := range faults {
		if faulty.alert != "KafkaGuardedUncertain" {
			p.waitFor(faulty.alert, true)
		}
		if faulty.mend != nil {
			faulty.mend()
		}
	}
	p.write("source", "good")
	for _, faulty := range faults {
		p.waitFor(faulty.alert, false)
	}
	kafka.Freeze(1)
	p.waitFor("KafkaGuardedKafkaAway", true)
	p.waitFor("KafkaGuardedUncertain", true)
	kafka.Thaw(1)
	p.waitFor("KafkaGuardedKafkaAway", false)
	p.waitFor("KafkaGuardedUncertain", false)

	require.ElementsMatch(t, p.rules(), alertsOf(faults), "each alert is tested")
	var drawn []drawnPanel
	for _, panel := range panels(t) {
		d := drawnPanel{title: panel.Title, unit: panel.FieldConfig.Defaults.Unit, colors: panel.colors()}
		for _, target := range panel.Targets {
			series := p.over(target.Expr, target.LegendFormat, began)
			require.NotEmpty(t, series, "panel %q: no data for %s", panel.Title, target.Expr)
			d.series = append(d.series, series...)
		}
		require.True(t, slices.ContainsFunc(d.series, drawnSeries.moves), "panel %q shows nothing but zeros", panel.Title)
		drawn = append(drawn, d)
	}
	if *update {
		require.NoError(t, os.WriteFile("../docs/dashboard.svg", []byte(draw(drawn)), 0o644))
	}
}

func alertsOf(faults []faulty) []string {
	var names []string
	for _, t := range faults {
		names = append(names, t.alert)
	}
	return names
}

// panel is a panel of the dashboard.
type panel struct {
	Title       string
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults  struct{ Unit string }
		Overrides []struct {
			Matcher    struct{ Options string }
			Properties []struct{ Value struct{ FixedColor string } }
		}
	}
}

// colors returns the colors of its series, by name.
func (p panel) colors() map[string]string {
	all := map[string]string{}
	for _, o := range p.FieldConfig.Overrides {
		all[o.Matcher.Options] = o.Properties[0].Value.FixedColor
	}
	return all
}

func panels(t *testing.T) []panel {
	content, err := os.ReadFile("../deploy/grafana/kafka_guarded.json")
	require.NoError(t, err)
	var dashboard struct{ Panels []panel }
	require.NoError(t, json.Unmarshal(content, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	return dashboard.Panels
}

// run starts a program, and ends it when the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v:\n%s", cmd.Args, tail(log.String()))
		}
	})
}

// tail is the end of a log.
func tail(log string) string {
	const most = 2000
	return log[max(0, len(log)-most):]
}

//go:build linux || darwin

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// prometheus is a Prometheus with the alerts of deploy/. It runs faster than in
// production, so that a test can wait for them.
type prometheus struct {
	t       *testing.T
	dir     string
	address string
	ports   []int
	configs []string // of the streams whose metrics it reads
}

const window = "8s" // window replaces the minutes of rates and increases.

var (
	forRE    = regexp.MustCompile(`for: \w+`)
	windowRE = regexp.MustCompile(`\[\w+\]`)
	variable = strings.NewReplacer("$__rate_interval", window, "$job", ".*", "$instance", ".*", "$label", ".*")
)

func newPrometheus(t *testing.T) *prometheus {
	p := &prometheus{t: t, dir: t.TempDir(), address: "127.0.0.1:" + strconv.Itoa(freePort(t))}
	alerts, err := os.ReadFile("../deploy/prometheus/alerts.yaml")
	require.NoError(t, err)
	quick := windowRE.ReplaceAll(forRE.ReplaceAll(alerts, []byte("for: 1s")), []byte("["+window+"]"))
	p.write("alerts.yaml", string(quick))
	return p
}

// port returns a free port for the i-th stream.
func (p *prometheus) port(i int) int {
	for len(p.ports) <= i {
		p.ports = append(p.ports, freePort(p.t))
	}
	return p.ports[i]
}

func freePort(t *testing.T) int {
	port, err := freeport.Port()
	require.NoError(t, err)
	return port
}

func (p *prometheus) write(name, content string) string {
	path := filepath.Join(p.dir, name)
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// watch runs the bundle with a config, once Prometheus has started.
func (p *prometheus) watch(config string) { p.configs = append(p.configs, config) }

func (p *prometheus) start() {
	var targets []string
	for i := range p.configs {
		targets = append(targets, fmt.Sprintf("'127.0.0.1:%d'", p.port(i)))
	}
	config := p.write("prometheus.yaml", fmt.Sprintf(`
global: { scrape_interval: 500ms, evaluation_interval: 500ms }
rule_files: [ alerts.yaml ]
scrape_configs: [ { job_name: kafka-guarded, static_configs: [ { targets: [ %s ] } ] } ]
`, strings.Join(targets, ", ")))
	run(p.t, exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(p.dir, "data"), "--web.listen-address="+p.address))
	p.poll("it is ready", func() bool {
		resp, err := http.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	for i, config := range p.configs {
		run(p.t, program(nil, "run", p.write(fmt.Sprintf("stream%d.yaml", i), config)))
	}
	p.poll("it watches all streams", func() bool {
		var data struct{ Result []any }
		p.ask("query", url.Values{"query": {"up == 1"}}, &data)
		return len(data.Result) == len(p.configs)
	})
}

func (p *prometheus) poll(what string, until func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !until(); {
		if time.Now().After(deadline) {
			p.t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ask sends a query to the API of Prometheus.
func (p *prometheus) ask(path string, query url.Values, data any) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	require.NoError(p.t, err)
	defer func() { _ = resp.Body.Close() }()
	answer := struct {
		Error string
		Data  any
	}{Data: data}
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(&answer))
	require.Empty(p.t, answer.Error, "%s %v", path, query)
}

// rules returns the names of all alerts.
func (p *prometheus) rules() []string {
	var data struct {
		Groups []struct{ Rules []struct{ Name string } }
	}
	p.ask("rules", nil, &data)
	var names []string
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			names = append(names, rule.Name)
		}
	}
	return names
}

// waitFor waits until an alert fires for a stream, or until it fires for none.
func (p *prometheus) waitFor(alert string, fires bool) {
	p.t.Helper()
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	p.poll(fmt.Sprintf("%s fires: %t", alert, fires), func() bool {
		data.Alerts = nil
		p.ask("alerts", nil, &data)
		for _, a := range data.Alerts {
			if a.Labels["alertname"] == alert && (a.State == "firing" || !fires) {
				return fires
			}
		}
		return !fires
	})
}

// over returns the values of a dashboard query since a time, one for each second.
func (p *prometheus) over(expr, legend string, since time.Time) []drawnSeries {
	p.t.Helper()
	var data struct {
		Result []struct {
			Metric map[string]string
			Values [][2]any
		}
	}
	unix := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1e3, 'f', 3, 64) }
	p.ask("query_range", url.Values{
		"query": {variable.Replace(expr)}, "step": {step.String()}, "start": {unix(since)}, "end": {unix(time.Now())},
	}, &data)
	var all []drawnSeries
	for _, result := range data.Result {
		s := drawnSeries{name: legend}
		for label, value := range result.Metric {
			s.name = strings.ReplaceAll(s.name, "{{"+label+"}}", value)
		}
		for _, v := range result.Values {
			y, err := strconv.ParseFloat(v[1].(string), 64)
			require.NoError(p.t, err)
			s.points = append(s.points, point{v[0].(float64) - float64(since.UnixMilli())/1e3, y})
		}
		all = append(all, s)
	}
	return all
}

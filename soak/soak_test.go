//go:build linux || darwin

package soak

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/proxytest"
)

var (
	hours     = flag.Float64("hours", 0, "how long the soak takes, without its start and its end; 0 for none")
	seed      = flag.Uint64("seed", 0, "what the faults are drawn from, 0 for any")
	outDir    = flag.String("out", "", "the `directory` for what it found; kafka-guarded-soak in that for temporary files if empty")
	dataDir   = flag.String("data", "", "the `directory` for Kafka's data, which take up to 3 GB; that for temporary files if empty")
	writeFile = flag.String("write", "", "put the account into this Markdown `file`, and the plot beside it as soak.svg")
)

const (
	user, password     = "alice", "alice-4f1d0c"
	reader, readerWord = "bob", "bob-9a77e2"

	partitions = 4 // of each plain topic; a compacted one has half as many

	// patience is how long a stream may take to make progress after a fault.
	patience = 2 * time.Minute

	// backlog is how many messages may be acknowledged and not yet read back. Above it
	// the sources pause, since what is read back can be deleted from the disks.
	backlog = 400_000
)

func TestMain(m *testing.M) {
	if os.Getenv(writerEnv) != "" {
		os.Exit(beWriter())
	}
	kafkatest.Main(m)
}

// soak is a running soak.
type soak struct {
	t        *testing.T
	random   *rand.Rand
	cluster  *kafkatest.Cluster
	proxies  []*proxytest.Proxy // of the first two nodes
	process  *process
	accounts []*account
	verifier *verifier
	journal  *journal
	limit    []int // by load, an index into limits
}

func (s *soak) topics() []string {
	var all []string
	for _, l := range loads {
		all = append(all, l.plain(), l.compacted())
	}
	return all
}

func TestSoak(t *testing.T) {
	if testing.Short() || *hours == 0 {
		t.Skip("it loads the machine for as long as it is told to: make soak HOURS=0.1, or -hours without -short")
	}
	s := start(t)
	end := time.Now().Add(time.Duration(*hours * float64(time.Hour)))
	s.getOn()
	for next := order(s.random); time.Now().Before(end); {
		f := next()
		over := s.journal.begin(f.name)
		f.do(s)
		s.settle()
		s.getOn()
		over()
		s.last(4)
	}
	s.end()
}

// start starts the cluster, the verifier and the writer.
func start(t *testing.T) *soak {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	out := *outDir
	if out == "" {
		out = filepath.Join(os.TempDir(), "kafka-guarded-soak")
	}
	require.NoError(t, os.MkdirAll(out, 0o755))
	_ = os.Remove(filepath.Join(out, "account.md")) // of another soak
	t.Logf("soak for %.2f hours, -seed %d, in %s", *hours, *seed, out)
	data := *dataDir
	if data == "" {
		data = os.TempDir()
	}
	data, err := os.MkdirTemp(data, "soak-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(data) })
	t.Setenv("TMPDIR", data) // where the cluster puts its data

	s := &soak{t: t, random: rand.New(rand.NewPCG(*seed, 0)), limit: make([]int, len(loads))}
	s.startCluster()
	epoch := time.Now().Truncate(time.Millisecond)
	for _, l := range loads {
		s.accounts = append(s.accounts, newAccount(l))
	}
	s.verifier, err = verify(s.cluster.Admin(), epoch, s.accounts, s.cluster.ClientOpts(reader))
	require.NoError(t, err)
	t.Cleanup(s.verifier.close)
	log, err := os.Create(filepath.Join(out, "writer.log"))
	require.NoError(t, err)
	t.Cleanup(func() { log.Close() })
	s.process, err = launch(setup{Brokers: s.cluster.Brokers(), User: user, Password: password, Epoch: epoch}, log, s.accounts)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.process.kill(t.Failed())
		if t.Failed() {
			t.Logf("what the writer logged, and what each of its goroutines did: %s", log.Name())
		}
	})
	s.journal, err = newJournal(out, data, s)
	require.NoError(t, err)
	t.Cleanup(s.journal.close)
	return s
}

func (s *soak) startCluster() {
	ports := map[int]int{}
	for node := 1; node <= 2; node++ { // the third is reached without a proxy
		p, err := proxytest.New()
		require.NoError(s.t, err)
		s.proxies = append(s.proxies, p)
		ports[node] = p.Port()
	}
	s.cluster = kafkatest.Start(s.t, kafkatest.Options{
		Nodes:           3,
		LogDirs:         2,
		SASL:            []string{kafkatest.Plain},
		Users:           map[string]string{user: password, reader: readerWord},
		ACLs:            true,
		AdvertisedPorts: ports,
		Properties: map[string]string{
			"super.users": "User:ANONYMOUS;User:" + reader,
			// Delete soon what the verifier marks as deleted.
			"log.retention.check.interval.ms": "3000",
		},
	})
	for i, p := range s.proxies {
		p.Connect(s.cluster.ClientAddr(i + 1))
	}
	small := map[string]string{
		"min.insync.replicas":  "2",
		"segment.bytes":        "8388608",
		"segment.index.bytes":  "65536",
		"retention.ms":         "-1",
		"file.delete.delay.ms": "1000",
	}
	with := func(more map[string]string) map[string]string {
		for k, v := range small {
			more[k] = v
		}
		return more
	}
	for _, l := range loads {
		s.cluster.CreateTopic(l.plain(), partitions, 3, with(map[string]string{"max.message.bytes": limits[0]}))
		s.cluster.CreateTopic(l.compacted(), partitions/2, 3, with(map[string]string{
			"cleanup.policy":        "compact,delete", // delete lets the verifier delete what it has read
			"min.compaction.lag.ms": "1000000000",     // no compaction during the soak
		}))
		for _, topic := range []string{l.plain(), l.compacted(), l.missing()} {
			s.cluster.Grant("User:"+user, kadm.OpWrite, kafkatest.TopicResource(topic))
			if l.Rules {
				s.cluster.Grant("User:"+user, kadm.OpDescribeConfigs, kafkatest.TopicResource(topic))
			}
		}
	}
}

// getOn waits until every load has made progress.
func (s *soak) getOn() {
	s.t.Helper()
	began := time.Now()
	for _, a := range s.accounts {
		from, _ := a.progress()
		for {
			now, _ := a.progress()
			if now >= from+5*batchSize {
				break
			}
			s.requireAlive()
			require.Less(s.t, time.Since(began), patience, "the stream %q does not get on", a.load.Name)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (s *soak) requireAlive() {
	s.t.Helper()
	select {
	case <-s.process.ended:
		require.FailNow(s.t, "the writer has ended", "%v", s.process.err)
	default:
	}
	if trouble := s.verifier.trouble.Load(); trouble != nil {
		require.NoError(s.t, *trouble)
	}
}

// end ends the streams, waits until the verifier has read all, and writes the account.
func (s *soak) end() {
	s.t.Helper()
	s.process.finish()
	select {
	case <-s.process.ended:
		require.NoError(s.t, s.process.err)
	case <-time.After(patience):
		require.FailNow(s.t, "the streams do not end")
	}
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		all, err := s.verifier.caughtUp(ctx)
		cancel()
		if all {
			break
		}
		require.Less(s.t, time.Since(began), patience, "what is in the topics is not read: %v", err)
		time.Sleep(100 * time.Millisecond)
	}
	s.verifier.close()
	if trouble := s.verifier.trouble.Load(); trouble != nil {
		require.NoError(s.t, *trouble)
	}
	var totals []total
	for _, a := range s.accounts {
		totals = append(totals, a.close())
	}
	s.journal.close()
	require.NoError(s.t, s.journal.write(totals))
	for i, n := range totals {
		s.t.Logf("RESULT soak/%s sent=%d delivered=%d dead_lettered=%d duplicates=%d lost=%d good_failed=%d uncertain=%d",
			loads[i].Name, n.Sent, n.Delivered, n.Dead, n.Duplicated, n.Lost, n.WronglyDead, n.Doubt)
	}
	for i, n := range totals {
		require.Zero(s.t, n.Lost+n.Duplicated+n.WronglyDead+n.Undelivered+n.Spared+n.Misfiled+n.Strays+n.Behind,
			"%s:\n%s", loads[i].Name, strings.Join(n.Examples, "\n"))
		require.NotZero(s.t, n.Delivered)
		require.Less(s.t, n.Doubt, n.Sent/100, "%s: too many may have been written or not", loads[i].Name)
	}
	s.requireNoGrowth()
}

// requireNoGrowth fails the test if the writer uses much more at the end than after the
// warm-up. The slack is what comes and goes with faults.
func (s *soak) requireNoGrowth() {
	s.t.Helper()
	early, late, ok := s.journal.growth()
	if !ok {
		return // too short to tell
	}
	for _, of := range []struct {
		what        string
		early, late int64
		slack       int64
	}{
		{"memory (RSS)", early.rss, late.rss, 96 << 20},
		{"goroutines", early.goroutines, late.goroutines, 60},
		{"connections", early.connections, late.connections, 30},
		{"file descriptors", early.fds, late.fds, 30},
	} {
		require.LessOrEqual(s.t, of.late, of.early+of.early/4+of.slack, "%s grow: %d in %s, %d in %s", of.what, of.early, early.title, of.late, late.title)
	}
}

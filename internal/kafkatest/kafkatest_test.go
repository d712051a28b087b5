//go:build linux || darwin

package kafkatest

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// childEnv makes the test binary start a process and wait to be killed.
const childEnv = "KAFKATEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		cmd := exec.Command("sleep", "600")
		cmd.Stdout = os.Stdout
		p, err := startProcess(cmd)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("started")
		<-p.done
		os.Exit(1)
	}
	Main(m)
}

// skipShort skips a test that starts nodes where tests are to be short.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts real Kafka nodes: run it without -short")
	}
}

func newClient(t *testing.T, opts []kgo.Opt, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, more...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func produce(t *testing.T, cl *kgo.Client, topic string, values ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(v)})
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func values(records []*kgo.Record) []string {
	var vs []string
	for _, r := range records {
		vs = append(vs, string(r.Value))
	}
	return vs
}

func TestSharedReadsBackWhatWasProduced(t *testing.T) {
	skipShort(t)
	c := Shared(t, Options{})
	c.CreateTopic("read-back", 2, 1, nil)
	cl := newClient(t, c.ClientOpts(""), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, cl.ProduceSync(context.Background(),
		&kgo.Record{Topic: "read-back", Partition: 1, Value: []byte("c")},
		&kgo.Record{Topic: "read-back", Partition: 0, Value: []byte("a")},
		&kgo.Record{Topic: "read-back", Partition: 0, Value: []byte("b")},
	).FirstErr())
	require.Equal(t, []string{"a", "b", "c"}, values(c.ReadAll("read-back")))
	require.Equal(t, 1, c.Leader("read-back", 1))

	c.AddPartitions("read-back", 2)
	listed, err := c.Admin().ListTopics(context.Background(), "read-back")
	require.NoError(t, err)
	require.Len(t, listed["read-back"].Partitions, 4)

	t.Run("a deleted topic can be created anew", func(t *testing.T) {
		c := c.With(t)
		c.CreateTopic("again", 1, 1, nil)
		require.NoError(t, produce(t, cl, "again", "x"))
		c.DeleteTopic("again")
		c.CreateTopic("again", 1, 1, nil)
		require.Empty(t, c.ReadAll("again"))
	})
}

func TestSharedGivesEqualOptionsOneCluster(t *testing.T) {
	skipShort(t)
	require.Equal(t, Shared(t, Options{}).Brokers(), Shared(t, Options{Nodes: 1}).Brokers())
}

func TestSetTopicConfigIsInForceOnReturn(t *testing.T) {
	skipShort(t)
	c := Shared(t, Options{})
	c.CreateTopic("limits", 1, 1, map[string]string{"max.message.bytes": "2000"})
	cl := newClient(t, c.ClientOpts(""), kgo.ProducerBatchCompression(kgo.NoCompression()))
	big := strings.Repeat("x", 1500)
	for range 5 {
		c.SetTopicConfig("limits", "max.message.bytes", "1000")
		require.ErrorIs(t, produce(t, cl, "limits", big), kerr.MessageTooLarge)
		c.SetTopicConfig("limits", "max.message.bytes", "2000")
		require.NoError(t, produce(t, cl, "limits", big))
	}
}

func TestReadAllSeesTransactionsByLevel(t *testing.T) {
	skipShort(t)
	c := Shared(t, Options{})
	c.CreateTopic("txn", 1, 1, nil)
	ctx := context.Background()
	cl := newClient(t, c.ClientOpts(""), kgo.TransactionalID("txn"), kgo.DefaultProduceTopic("txn"))
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, produce(t, cl, "txn", fmt.Sprintf("committed %t", bool(end))))
		require.NoError(t, cl.EndTransaction(ctx, end))
	}
	require.Equal(t, []string{"committed true", "committed false"}, values(c.ReadAll("txn")))
	require.Equal(t, []string{"committed true"}, values(c.ReadAllCommitted("txn")))
}

func TestSetQuotaThrottles(t *testing.T) {
	skipShort(t)
	c := Shared(t, Options{})
	c.CreateTopic("quota", 1, 1, nil)
	throttled := make(throttles, 100)
	cl := newClient(t, c.ClientOpts(""), kgo.ClientID("slow"),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.WithHooks(throttled))
	c.SetQuota("", "slow", 1000)
	require.NoError(t, produce(t, cl, "quota", strings.Repeat("x", 12_000)))
	require.NotEmpty(t, throttled)
}

type throttles chan time.Duration

func (c throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, d time.Duration, _ bool) {
	select {
	case c <- d:
	default:
	}
}

func TestOlder(t *testing.T) {
	for i, v := range Versions {
		for j, than := range Versions {
			require.Equal(t, i < j, Older(v, than), "%s, %s", v, than)
		}
	}
	require.True(t, Older("3.9.2", "3.10.0"))
}

func TestKafka39ReadsBackWhatWasProduced(t *testing.T) {
	skipShort(t)
	t.Parallel()
	c := Start(t, Options{Version: Version39, SASL: []string{Plain, ScramSHA256}, Users: map[string]string{"alice": "secret"}})
	c.CreateTopic("t", 1, 1, nil)
	require.NoError(t, produce(t, newClient(t, c.ClientOpts("alice")), "t", "a"))
	require.NoError(t, produce(t, newClient(t, c.ClientOptsWith(ScramSHA256, "alice")), "t", "b"))
	require.Equal(t, []string{"a", "b"}, values(c.ReadAll("t")))
}

// threeNodes is a cluster with everything: the tests below share it.
var threeNodes = Options{
	Nodes: 3,
	SASL:  []string{ScramSHA512, ScramSHA256, Plain, OAuthBearer},
	Users: map[string]string{"alice": "alice-secret", "bob": "bob-secret"},
	TLS:   true,
	ACLs:  true,
}

// Since Kafka 4.4 the first records of the metadata are kept elsewhere.
func TestNewestVersionStartsThreeNodes(t *testing.T) {
	skipShort(t)
	t.Parallel()
	c := Start(t, Options{Version: NewestVersion, Nodes: 3})
	c.CreateTopic("newest", 3, 3, nil)
	require.NoError(t, produce(t, newClient(t, c.ClientOpts("")), "newest", "a"))
	require.Len(t, c.ReadAll("newest"), 1)
}

func TestSharedAuthenticatesByEveryMechanism(t *testing.T) {
	skipShort(t)
	c := Shared(t, threeNodes)
	for _, mechanism := range threeNodes.SASL {
		t.Run(mechanism, func(t *testing.T) {
			c := c.With(t)
			cl := newClient(t, c.ClientOptsWith(mechanism, "alice"))
			require.NoError(t, cl.Ping(context.Background()))
		})
	}
	t.Run("a wrong password is refused", func(t *testing.T) {
		c := c.With(t)
		wrong := &cluster{opts: threeNodes, seeds: c.c.seeds, certs: c.c.certs}
		wrong.opts.Users = map[string]string{"alice": "guess"}
		cl := newClient(t, (&Cluster{tb: t, c: wrong}).ClientOpts("alice"))
		require.ErrorIs(t, cl.Ping(context.Background()), kerr.SaslAuthenticationFailed)
	})
}

func TestGrantAndRevokeAreInForceOnReturn(t *testing.T) {
	skipShort(t)
	c := Shared(t, threeNodes)
	c.CreateTopic("granted", 1, 3, nil)
	cl := newClient(t, c.ClientOpts("alice"), kgo.DisableIdempotentWrite())
	require.ErrorIs(t, produce(t, cl, "granted", "before"), kerr.TopicAuthorizationFailed)
	for range 3 {
		c.Grant("User:alice", kadm.OpWrite, TopicResource("granted"))
		cl := newClient(t, c.ClientOpts("alice"))
		require.NoError(t, produce(t, cl, "granted", "granted"))
		c.Revoke("User:alice", kadm.OpWrite, TopicResource("granted"))
		require.ErrorIs(t, produce(t, cl, "granted", "after"), kerr.TopicAuthorizationFailed)
	}
	require.Equal(t, []string{"granted", "granted", "granted"}, values(c.ReadAll("granted")))
}

func TestNodesComeBack(t *testing.T) {
	skipShort(t)
	c := Shared(t, threeNodes)
	c.CreateTopic("nodes", 1, 3, map[string]string{"min.insync.replicas": "2"})
	c.Grant("User:bob", kadm.OpWrite, TopicResource("nodes"))
	cl := newClient(t, c.ClientOpts("bob"),
		kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	require.NoError(t, produce(t, cl, "nodes", "before"))

	killed := c.Leader("nodes", 0)
	c.Kill(killed)
	require.NotEqual(t, killed, c.Leader("nodes", 0))
	require.NoError(t, produce(t, cl, "nodes", "killed"))
	c.Restart(killed)
	c.WaitInSync()

	frozen := c.Leader("nodes", 0)
	c.Freeze(frozen)
	require.NotEqual(t, frozen, c.Leader("nodes", 0))
	require.NoError(t, produce(t, cl, "nodes", "frozen"))
	require.Equal(t, []string{"before", "killed", "frozen"}, values(c.ReadAll("nodes")))
	c.Thaw(frozen)
	c.WaitInSync()

	stopped := c.Leader("nodes", 0)
	c.Stop(stopped)
	require.NotEqual(t, stopped, c.Leader("nodes", 0))
	require.NoError(t, produce(t, cl, "nodes", "stopped"))
	require.Equal(t, []string{"before", "killed", "frozen", "stopped"}, values(c.ReadAll("nodes")))
	// The node is left down: the next test wants it restored.
}

func TestSharedRestoresNodes(t *testing.T) {
	skipShort(t)
	c := Shared(t, threeNodes)
	t.Run("a test that leaves two nodes broken", func(t *testing.T) {
		c := c.With(t)
		c.Freeze(1)
		c.Kill(2)
	})
	require.Len(t, c.c.running(), 3)
	c.WaitInSync()
}

func TestStartWithClientCertAndAdvertisedPort(t *testing.T) {
	skipShort(t)
	t.Parallel()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { proxy.Close() })
	port := proxy.Addr().(*net.TCPAddr).Port
	c := Start(t, Options{
		TLS: true, TLSClientAuth: true, ACLs: true,
		AdvertisedPorts: map[int]int{1: port},
		Properties:      map[string]string{"message.max.bytes": "5000"},
	})
	require.Equal(t, []string{proxy.Addr().String()}, c.Brokers())
	go forward(proxy, c.ClientAddr(1))
	admin := kadm.NewClient(newClient(t, c.ClientOpts("")))
	brokers, err := admin.ListBrokers(context.Background())
	require.NoError(t, err)
	require.Equal(t, int32(port), brokers[0].Port)

	_, err = admin.CreateTopic(context.Background(), 1, 1, nil, "t")
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	c.Grant(ClientCertPrincipal, kadm.OpCreate, ClusterResource())
	_, err = admin.CreateTopic(context.Background(), 1, 1, nil, "t")
	require.NoError(t, err)
}

// forward passes every connection of the listener on to an address.
func forward(l net.Listener, to string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		conn, err := net.Dial("tcp", to)
		if err != nil {
			from.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{from, conn}, {conn, from}} {
			go func() {
				_, _ = io.Copy(pair[0], pair[1])
				pair[0].Close()
			}()
		}
	}
}

func TestStartWithExpiredCertIsRefusedByClients(t *testing.T) {
	skipShort(t)
	t.Parallel()
	c := Start(t, Options{TLS: true, ExpiredCert: true})
	cl := newClient(t, c.ClientOpts(""))
	err := cl.Ping(context.Background())
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, x509.Expired, invalid.Reason)
}

func TestProcessEndsWithTheTestBinary(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(exe)
	child.Env = append(os.Environ(), childEnv+"=1")
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	started := bufio.NewReader(out)
	_, err = started.ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, child.Process.Kill())
	// The grandchild holds the pipe open for as long as it lives.
	ended := make(chan error, 1)
	go func() {
		_, err := started.ReadByte()
		ended <- err
	}()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, io.EOF)
	case <-time.After(2 * time.Minute):
		t.Fatal("the process outlives the test binary")
	}
	require.Error(t, child.Wait())
}

func TestOptionsAreValidated(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts Options
		want string
	}{
		{"a version that is a path", Options{Version: "../x"}, "version"},
		{"nodes that share a ZooKeeper", Options{Version: "2.8.2", Nodes: 3}, "3 nodes"},
		{"SCRAM before it had users", Options{Version: "3.3.2", SASL: []string{ScramSHA256}, Users: map[string]string{"a": "b"}}, "SCRAM"},
		{"a negative number of nodes", Options{Nodes: -1}, "nodes"},
		{"an unknown mechanism", Options{SASL: []string{"GSSAPI"}}, "GSSAPI"},
		{"a mechanism without users", Options{SASL: []string{Plain}}, "without users"},
		{"users without a mechanism", Options{Users: map[string]string{"a": "b"}}, "without a SASL"},
		{"a password with a quote", Options{SASL: []string{Plain}, Users: map[string]string{"a": `"`}}, "password"},
		{"an expired certificate without TLS", Options{ExpiredCert: true}, "need TLS"},
		{"ACLs for nameless clients", Options{ACLs: true}, "super user"},
		{"a port of a node that is not there", Options{AdvertisedPorts: map[int]int{2: 1}}, "node 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorContains(t, tt.opts.withDefaults().validate(), tt.want)
		})
	}
	require.NoError(t, threeNodes.withDefaults().validate())
}

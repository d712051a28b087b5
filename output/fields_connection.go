package output

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

const (
	fieldSeedBrokers            = "seed_brokers"
	fieldClientID               = "client_id"
	fieldTLS                    = "tls"
	fieldMetadataMaxAge         = "metadata_max_age"
	fieldRequestTimeoutOverhead = "request_timeout_overhead"
	fieldConnIdleTimeout        = "conn_idle_timeout"
	fieldTCP                    = "tcp"
	fieldMaxVersions            = "max_versions"
)

func connectionFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringListField(fieldSeedBrokers).LintRule(lintsOf(fieldSeedBrokers)).
			Description("A list of broker addresses to connect to in order to establish connections. If an item of the list contains commas it is expanded into multiple addresses. The output has at most three connections to a broker, which must allow for them (`max.connections.per.ip`). Kafka's `bootstrap.servers`.").
			Example([]string{"localhost:9092"}).
			Example([]string{"foo:9092", "bar:9092"}).
			Example([]string{"foo:9092,bar:9092"}),
		service.NewStringField(fieldClientID).
			Description("An identifier for the client connection. Kafka's `client.id`.").
			Default("redpanda-connect").
			Advanced(),
		service.NewTLSToggledField(fieldTLS),
		saslField(),
		service.NewDurationField(fieldMetadataMaxAge).
			Description("The maximum age of metadata before it is refreshed. Kafka's `metadata.max.age.ms`.").
			Default("1m").
			Advanced(),
		service.NewDurationField(fieldRequestTimeoutOverhead).
			Description("How long to wait for an answer to a request, on top of the time-out that the request itself carries. Roughly Kafka's `request.timeout.ms`.").
			Default("10s").
			Advanced(),
		service.NewDurationField(fieldConnIdleTimeout).
			Description("The rough time after which idle connections are closed. Kafka's `connections.max.idle.ms`.").
			Default("20s").
			Advanced(),
		netutil.DialerConfigSpec().
			Description("TCP socket configuration. Without a `connect_timeout`, a connection may take 10 seconds to be there, the TLS handshake included."),
		service.NewStringField(fieldMaxVersions).
			Description("The version of Kafka above which no request is sent: `MaxVersions` of the Kafka client. By default each request has the newest version that the client and the broker have in common. Some services close the connection on the newest ApiVersions request (version 5, KIP-1242), among them Azure Event Hubs and Tansu: the log and `check` say so, and what to set.").
			Example(OlderVersions).
			Optional().
			Advanced(),
	}
}

// defaultPort is that of a seed broker without one.
const defaultPort = "9092"

// metadataMinAge is the least age of metadata before it is read again after an error.
// With kgo's default of 5 s, messages for a new topic or a new leader would wait.
const metadataMinAge = 250 * time.Millisecond

// clientConfig has the settings of the clients.
type clientConfig struct {
	guard guard.Config
	opts  []kgo.Opt
	seeds []string    // host:port
	sasl  *mechanisms // nil if there are none
	acks  string

	reports              reporting
	reportMaxElapsedTime time.Duration
	breaker              breakerConfig
	format               letterFormat
	log                  clientLog
	dialer               *dialer
	failures             *connectFailures

	maxRequestBytes int
	maxVersions     *kversion.Versions // nil for the newest
}

// read reads the settings of the clients.
func (c *clientConfig) read(p *parser, log *service.Logger) {
	c.failures = &connectFailures{}
	if log != nil {
		c.log = newClientLog(log)
		c.log.failures = c.failures
		c.opts = []kgo.Opt{kgo.WithLogger(c.log)}
	}
	c.connection(p)
	c.producer(p)
	c.fates(p)
	if !p.found.none() {
		return
	}
	// A client that never connects finds settings that only kgo rejects. So a
	// bad config ends the start, instead of being retried for ever.
	probe, err := guard.New(c.guard, c.opts...)
	if err != nil {
		p.found.all = append(p.found.all, mistake{text: err.Error()})
		return
	}
	probe.Close()
}

// connection reads the settings for connections.
func (c *clientConfig) connection(p *parser) {
	c.readSeeds(p)
	c.sasl = p.sasl()
	c.opts = append(c.opts,
		kgo.SeedBrokers(c.seeds...),
		// After REBOOTSTRAP_REQUIRED (KIP-1102) the client must go back to its
		// seeds. Without this option kgo keeps the brokers that it knows.
		kgo.OnRebootstrapRequired(func() ([]string, error) { return c.seeds, nil }),
		kgo.ClientID(p.string(fieldClientID)),
		kgo.MetadataMaxAge(p.duration(fieldMetadataMaxAge, metadataMinAge, time.Hour)),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.RequestTimeoutOverhead(p.duration(fieldRequestTimeoutOverhead, 100*time.Millisecond, 15*time.Minute)),
		kgo.ConnIdleTimeout(p.duration(fieldConnIdleTimeout, 100*time.Millisecond, 15*time.Minute)),
	)
	if c.sasl != nil {
		c.opts = append(c.opts, kgo.SASL(c.sasl))
	}
	if c.maxVersions = p.maxVersions(); c.maxVersions != nil {
		c.opts = append(c.opts, kgo.MaxVersions(c.maxVersions))
	}
	c.dialer = p.dialer()
	c.opts = append(c.opts, kgo.Dialer(c.sasl.listen(c.failures.counted(c.dialer.dial))))
}

// readSeeds reads the seed brokers. An item may have several of them.
func (c *clientConfig) readSeeds(p *parser) {
	const wanted = "name each broker as host:port"
	for i, item := range p.strings(fieldSeedBrokers) {
		name := fmt.Sprintf("%s[%d]", fieldSeedBrokers, i)
		if strings.Trim(item, ", ") == "" {
			p.fail(name, "is empty, perhaps for an environment variable that is: %s", wanted)
			continue
		}
		for seed := range strings.SplitSeq(item, ",") {
			if seed = strings.TrimSpace(seed); seed == "" {
				continue
			}
			seed, err := withPort(seed)
			if err != nil {
				p.fail(name, "has %q, %v: %s", seed, err, wanted)
			}
			if !slices.Contains(c.seeds, seed) {
				c.seeds = append(c.seeds, seed)
			}
		}
	}
	if len(c.seeds) == 0 && p.fine(fieldSeedBrokers, fieldSeedBrokers+"[0]") {
		p.fail(fieldSeedBrokers, "is no list with a broker in it: %s, such as [ localhost:9092 ]", wanted)
	}
}

// withPort returns the address of a broker with its port.
func withPort(seed string) (string, error) {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		host, port = strings.Trim(seed, "[]"), defaultPort
		if strings.Contains(host, "/") {
			return seed, errors.New("which is no address, but a URL")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return seed, errors.New("whose port is no number from 1 to 65535")
	}
	if ip, _, _ := strings.Cut(host, "%"); host == "" || strings.ContainsAny(host, " /;,") || strings.Contains(host, ":") && net.ParseIP(ip) == nil {
		return seed, errors.New("which has no legal host name")
	}
	return net.JoinHostPort(host, port), nil
}

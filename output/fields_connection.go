package output

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
	"github.com/twmb/franz-go/pkg/kgo"

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
)

const lintBrokers = `root = if this.type() == "array" && (this.length() == 0 || this.map_each(b -> b.string()).all(b -> b != "" && b.re_match("^[, ]*$"))) { ["name at least one broker as host:port"] }`

func connectionFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringListField(fieldSeedBrokers).
			LintRule(lintBrokers).
			Description("A list of broker addresses to connect to in order to establish connections. If an item of the list contains commas it is expanded into multiple addresses. Kafka's `bootstrap.servers`.").
			Example([]string{"localhost:9092"}).
			Example([]string{"foo:9092", "bar:9092"}).
			Example([]string{"foo:9092,bar:9092"}),
		service.NewStringField(fieldClientID).
			Description("An identifier for the client connection. Kafka's `client.id`.").
			Default("redpanda-connect").
			Advanced(),
		service.NewTLSToggledField(fieldTLS),
		saslField(),
		durationField(fieldMetadataMaxAge).
			Description("The maximum age of metadata before it is refreshed. Kafka's `metadata.max.age.ms`.").
			Default("1m").
			Advanced(),
		durationField(fieldRequestTimeoutOverhead).
			Description("How long to wait for an answer to a request, on top of the time-out that the request itself carries. Roughly Kafka's `request.timeout.ms`.").
			Default("10s").
			Advanced(),
		durationField(fieldConnIdleTimeout).
			Description("The rough time after which idle connections are closed. Kafka's `connections.max.idle.ms`.").
			Default("20s").
			Advanced(),
		netutil.DialerConfigSpec().
			Description("TCP socket configuration. Without a `connect_timeout`, a connection may take 10 seconds to be there, the TLS handshake included."),
	}
}

// defaultPort is that of a seed broker without one.
const defaultPort = "9092"

// metadataMinAge is how often metadata may be asked for when something is amiss.
// kgo's default of 5 s makes a topic that is new, or has another leader, wait.
const metadataMinAge = 250 * time.Millisecond

// clientConfig is what the clients are made of.
type clientConfig struct {
	guard guard.Config
	opts  []kgo.Opt
	seeds []string    // host:port
	sasl  *mechanisms // nil if there are none
	acks  string

	reports              reporting
	reportMaxElapsedTime time.Duration
	log                  clientLog
	dialer               *dialer

	maxRequestBytes int
}

func clientConfigFrom(conf *service.ParsedConfig, log *service.Logger) (clientConfig, error) {
	p := newParser(conf)
	c := clientConfig{log: newClientLog(log)}
	c.opts = append(c.opts, kgo.WithLogger(c.log))
	c.connection(p)
	c.producer(p)
	c.fates(p)
	if *p.err != nil {
		return clientConfig{}, *p.err
	}
	// A client that never connects finds what only kgo would object to, so
	// that a bad config ends the start instead of being retried for ever.
	probe, err := guard.New(c.guard, c.opts...)
	if err != nil {
		return clientConfig{}, err
	}
	probe.Close()
	return c, nil
}

// connection reads how to reach the brokers.
func (c *clientConfig) connection(p *parser) {
	for _, item := range p.strings(fieldSeedBrokers) {
		for seed := range strings.SplitSeq(item, ",") {
			if seed = strings.TrimSpace(seed); seed != "" {
				if _, _, err := net.SplitHostPort(seed); err != nil {
					seed = net.JoinHostPort(strings.Trim(seed, "[]"), defaultPort)
				}
				if !slices.Contains(c.seeds, seed) {
					c.seeds = append(c.seeds, seed)
				}
			}
		}
	}
	if len(c.seeds) == 0 {
		p.fail("%s is empty: name at least one broker as host:port", fieldSeedBrokers)
	}
	c.sasl = parse(p, fieldSASL, func(...string) (*mechanisms, error) { return saslFrom(p.conf) })
	c.opts = append(c.opts,
		kgo.SeedBrokers(c.seeds...),
		kgo.ClientID(p.string(fieldClientID)),
		kgo.MetadataMaxAge(p.duration(fieldMetadataMaxAge)),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.RequestTimeoutOverhead(p.duration(fieldRequestTimeoutOverhead)),
		kgo.ConnIdleTimeout(p.duration(fieldConnIdleTimeout)),
	)
	if c.sasl != nil {
		c.opts = append(c.opts, kgo.SASL(c.sasl))
	}
	if c.dialer = parse(p, fieldTCP, func(...string) (*dialer, error) { return newDialer(p.conf) }); c.dialer != nil {
		c.opts = append(c.opts, kgo.Dialer(c.sasl.listen(c.dialer.dial)))
	}
}

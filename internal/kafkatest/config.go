//go:build linux || darwin

package kafkatest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
)

// Names of the listeners. Brokers and the super user go by the internal one,
// which is always plaintext, so that the methods of Cluster work whatever the
// security of the client listener is.
const (
	internalListener   = "INTERNAL"
	clientListener     = "CLIENT"
	controllerListener = "CONTROLLER"
)

// nodeProperties are the broker properties of a node.
func (c *cluster) nodeProperties(n *node) map[string]string {
	o := c.opts
	var voters []string
	for _, v := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", v.id, freeport.At(v.controller)))
	}
	replicas := strconv.Itoa(min(3, o.Nodes))
	minISR := strconv.Itoa(min(2, o.Nodes))
	p := map[string]string{
		"process.roles":              "broker,controller",
		"node.id":                    strconv.Itoa(n.id),
		"controller.quorum.voters":   strings.Join(voters, ","),
		"log.dirs":                   strings.Join(n.dirs, ","),
		"inter.broker.listener.name": internalListener,
		"controller.listener.names":  controllerListener,
		"listeners": fmt.Sprintf("%s://%s,%s://%s,%s://%s",
			internalListener, freeport.At(n.internal),
			clientListener, freeport.At(n.client),
			controllerListener, freeport.At(n.controller)),
		"advertised.listeners": fmt.Sprintf("%s://%s,%s://%s",
			internalListener, freeport.At(n.internal),
			clientListener, freeport.At(n.advertised)),
		"listener.security.protocol.map": fmt.Sprintf("%s:PLAINTEXT,%s:PLAINTEXT,%s:%s",
			internalListener, controllerListener, clientListener, o.protocol()),

		// A topic is there because a test made it.
		"auto.create.topics.enable": "false",

		// A killed node is noticed, and may come back, after 3 s rather
		// than 9 s.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",

		// Don't wait for more changes or more members before acting.
		"controller.quorum.append.linger.ms": "0",
		"group.initial.rebalance.delay.ms":   "0",

		// Kafka's own topics as small as the cluster allows.
		"offsets.topic.num.partitions":             "1",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "1",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            minISR,

		// The default takes a quarter of the heap.
		"log.cleaner.dedupe.buffer.size": "2097152",
		"num.network.threads":            "2",
		"num.io.threads":                 "4",
	}
	if c.zk != nil {
		c.zk.connect(n, p)
	}
	if !Older(o.Version, "4.0.0") {
		p["share.coordinator.state.topic.num.partitions"] = "1"
		p["share.coordinator.state.topic.replication.factor"] = replicas
		p["share.coordinator.state.topic.min.isr"] = minISR
	}
	listener := "listener.name." + strings.ToLower(clientListener) + "."
	if len(o.SASL) > 0 {
		p[listener+"sasl.enabled.mechanisms"] = strings.Join(o.SASL, ",")
		for _, m := range o.SASL {
			p[listener+strings.ToLower(m)+".sasl.jaas.config"] = o.jaas(m)
		}
	}
	if o.TLS {
		p[listener+"ssl.keystore.type"] = "PEM"
		p[listener+"ssl.keystore.location"] = filepath.Join(c.dir, keystoreFile)
		p[listener+"ssl.truststore.type"] = "PEM"
		p[listener+"ssl.truststore.location"] = filepath.Join(c.dir, truststoreFile)
	}
	if o.TLSClientAuth {
		p[listener+"ssl.client.auth"] = "required"
	}
	if o.ACLs {
		p["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		if c.zk != nil {
			p["authorizer.class.name"] = "kafka.security.authorizer.AclAuthorizer"
		}
		p["super.users"] = "User:ANONYMOUS"
		p["allow.everyone.if.no.acl.found"] = "false"
	}
	maps.Copy(p, o.Properties)
	return p
}

// protocol is the security protocol of the client listener.
func (o Options) protocol() string {
	switch {
	case len(o.SASL) > 0 && o.TLS:
		return "SASL_SSL"
	case len(o.SASL) > 0:
		return "SASL_PLAINTEXT"
	case o.TLS:
		return "SSL"
	}
	return "PLAINTEXT"
}

// jaas is the login module of a mechanism, as one line.
func (o Options) jaas(mechanism string) string {
	const security = "org.apache.kafka.common.security."
	switch mechanism {
	case Plain:
		var b strings.Builder
		b.WriteString(security + "plain.PlainLoginModule required")
		for _, user := range slices.Sorted(maps.Keys(o.Users)) {
			fmt.Fprintf(&b, " user_%s=%q", user, o.Users[user])
		}
		return b.String() + ";"
	case OAuthBearer:
		// Without a validator of its own the listener takes unsecured
		// tokens.
		return security + "oauthbearer.OAuthBearerLoginModule required;"
	}
	return security + "scram.ScramLoginModule required;"
}

// scramArgs are the StorageTool arguments that create the users of the SCRAM
// mechanisms.
func (o Options) scramArgs() []string {
	var args []string
	for _, m := range o.SASL {
		if m != ScramSHA256 && m != ScramSHA512 {
			continue
		}
		for _, user := range slices.Sorted(maps.Keys(o.Users)) {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", m, user, o.Users[user]))
		}
	}
	return args
}

var propertyEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// writeProperties writes a Java properties file.
func writeProperties(path string, p map[string]string) error {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, propertyEscaper.Replace(p[k]))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("writing broker properties: %w", err)
	}
	return nil
}

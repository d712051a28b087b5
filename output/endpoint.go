package output

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-guarded/kafka-guarded/guard"
)

// endpoint is the service behind the seed brokers, if it needs other settings than
// Apache Kafka, or has other names for rights. docs/clusters.md has more.
type endpoint struct {
	eventHubs bool // Azure Event Hubs
	iam       bool // Amazon MSK with rights by IAM
}

func (c *clientConfig) endpoint() endpoint {
	e := endpoint{iam: slices.Contains(c.sasl.names(), saslAWSMSKIAM)}
	for _, seed := range c.seeds {
		host, _, _ := net.SplitHostPort(seed)
		e.eventHubs = e.eventHubs || strings.HasSuffix(strings.ToLower(host), ".servicebus.windows.net")
	}
	return e
}

// Right is a right in Kafka, by its name in ACLs.
type Right string

// The rights in texts.
const (
	WriteTopic      Right = "WRITE on the topic"
	WriteIdempotent Right = "IDEMPOTENT_WRITE on the cluster"
	DescribeTopic   Right = "DESCRIBE_CONFIGS on the topic"
	DescribeBrokers Right = "DESCRIBE_CONFIGS on the cluster"
)

// iamActions are the names of rights in IAM policies.
var iamActions = map[Right]string{
	WriteTopic:      "kafka-cluster:DescribeTopic and kafka-cluster:WriteData on the topic",
	WriteIdempotent: "kafka-cluster:WriteDataIdempotently on the cluster",
	DescribeTopic:   "kafka-cluster:DescribeTopicDynamicConfiguration on the topic",
	DescribeBrokers: "kafka-cluster:DescribeClusterDynamicConfiguration on the cluster",
}

// name returns the name of a right at this endpoint.
func (e endpoint) name(r Right) string {
	if e.iam {
		return iamActions[r]
	}
	return string(r)
}

// advice says what to do about the reason for which messages wait, empty if there is
// nothing to add.
func (e endpoint) advice(cause error) string {
	grant := "Grant "
	if e.iam {
		grant = "IAM has to allow "
	}
	switch {
	case errors.Is(cause, kerr.UnknownTopicOrPartition):
		return ". Create the topic"
	case errors.Is(cause, kerr.TopicAuthorizationFailed):
		return ". " + grant + e.name(WriteTopic)
	case errors.Is(cause, kerr.ClusterAuthorizationFailed):
		return fmt.Sprintf(". %s%s, or set %s: false", grant, e.name(WriteIdempotent), fieldIdempotentWrite)
	case errors.Is(cause, kerr.SaslAuthenticationFailed):
		return fmt.Sprintf(". Check the credentials in %s, and start anew with what holds now", fieldSASL)
	case e.eventHubs && errors.Is(cause, kerr.PolicyViolation):
		return ". Event Hubs throttles with this error: it passes, more throughput units keep it away"
	}
	return ""
}

// Limits of Event Hubs.
const (
	eventHubsRequest = 1046528
	eventHubsIdle    = 240 * time.Second
)

// eventHubsHints returns the settings that do not work with Event Hubs.
func (p *parser) eventHubsHints(c clientConfig) (texts []string) {
	hint := func(text string, args ...any) { texts = append(texts, "Event Hubs: "+fmt.Sprintf(text, args...)) }
	codec := optional(p, fieldCompression, p.conf.FieldString)
	if codec != "gzip" && codec != "none" {
		hint("it takes gzip and no other compression, and refuses the default: set %s to gzip or none", fieldCompression)
	}
	if c.maxRequestBytes > eventHubsRequest {
		hint("%s (%d) is more than it takes (%d): it closes the connection on larger requests, so set it to 1MB", fieldBrokerWriteMaxBytes, c.maxRequestBytes, eventHubsRequest)
	}
	if idle := p.orZero(fieldConnIdleTimeout); idle >= eventHubsIdle {
		hint("it closes connections that are idle for %s: set %s to less", eventHubsIdle, fieldConnIdleTimeout)
	}
	if slices.Contains(c.guard.Permanent, guard.Refused) {
		hint("it throttles with POLICY_VIOLATION, which is %s: take that out of %s", guard.Refused, fieldPermanent)
	}
	return texts
}

//go:build linux || darwin

package kafkatest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

const (
	// DefaultVersion is the Apache Kafka version of a cluster whose Options
	// name none.
	DefaultVersion = NewestVersion

	// Version39 is the newest supported version of the 3.9 line, the last
	// one before Kafka 4.
	Version39 = "3.9.2"

	// NewestVersion is the newest that tests know.
	NewestVersion = "4.4.0"
)

// Versions are those that tests know, from the oldest to the newest. Before 3.3,
// which is the first to be ready for use without ZooKeeper, a cluster has that, one
// node, and no SCRAM users, which take 3.5 without ZooKeeper.
var Versions = []string{"2.4.1", "2.8.2", "3.3.2", "3.6.2", Version39, "4.0.2", "4.2.0", "4.3.1", NewestVersion}

// Older tells whether a version comes before another.
func Older(version, than string) bool {
	number := func(s string) (n [3]int) {
		_, _ = fmt.Sscanf(s, "%d.%d.%d", &n[0], &n[1], &n[2]) // what has another form is 0.0.0
		return n
	}
	a, b := number(version), number(than)
	return slices.Compare(a[:], b[:]) < 0
}

// zooKeeper tells whether the version needs ZooKeeper.
func (o Options) zooKeeper() bool { return o.Version != "" && Older(o.Version, "3.3.0") }

// SASL mechanisms of a client listener.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
)

// Options describe a cluster. The zero value is one node of DefaultVersion
// with a plaintext client listener and no authorizer.
type Options struct {
	// Version is the Apache Kafka version. Defaults to DefaultVersion.
	Version string

	// Nodes is the number of nodes, each of them broker and controller.
	// They are numbered from 1. Defaults to 1.
	Nodes int

	// LogDirs is the number of directories that a node keeps its data in, each
	// partition in one of them. The first has the metadata, too. Defaults to 1.
	LogDirs int

	// Properties are broker properties for all nodes, overriding the
	// package's own. They are the place for topic defaults such as
	// message.max.bytes, too.
	Properties map[string]string

	// JVM are flags for the nodes' JVMs. They come after the package's own,
	// which are for a quick start and little memory, and not for speed.
	JVM []string

	// SASL lists the mechanisms that the client listener takes, the one
	// that ClientOpts uses first. Defaults to no authentication.
	SASL []string

	// Users are the names and passwords for PLAIN and SCRAM. OAUTHBEARER
	// takes any user: its tokens are unsecured.
	Users map[string]string

	// TLS makes the client listener a TLS one, with certificates that are
	// made for the cluster and valid for localhost and 127.0.0.1.
	TLS bool

	// TLSClientAuth makes the client listener ask for a client certificate.
	// Without SASL its subject is the principal: ClientCertPrincipal.
	TLSClientAuth bool

	// ExpiredCert gives the client listener a certificate that ended
	// yesterday, so that every client that verifies it fails.
	ExpiredCert bool

	// ACLs turns on StandardAuthorizer: a client may do what was granted to
	// it and nothing else. The methods of Cluster act as super user.
	ACLs bool

	// AdvertisedPorts tells clients another port than the one a node's
	// client listener has, so that a test can put a proxy at that port,
	// which forwards to ClientAddr(node). The key is the node.
	AdvertisedPorts map[int]int
}

var (
	versionRE = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	wordRE    = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
)

// withDefaults returns the options with every zero value that has a default
// replaced by it, so that equal clusters have equal options.
func (o Options) withDefaults() Options {
	if o.Version == "" {
		o.Version = DefaultVersion
	}
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.LogDirs == 0 {
		o.LogDirs = 1
	}
	return o
}

func (o Options) validate() error {
	if !versionRE.MatchString(o.Version) {
		return fmt.Errorf("version %q is not of the form 4.2.0", o.Version)
	}
	if o.Nodes > 1 && o.zooKeeper() {
		return fmt.Errorf("%d nodes of version %s, which has one here", o.Nodes, o.Version)
	}
	if Older(o.Version, "3.5.0") && len(o.scramArgs()) > 0 {
		return fmt.Errorf("version %s has no SCRAM users here", o.Version)
	}
	if o.Nodes < 1 {
		return fmt.Errorf("%d nodes", o.Nodes)
	}
	known := []string{Plain, ScramSHA256, ScramSHA512, OAuthBearer}
	for _, m := range o.SASL {
		if !slices.Contains(known, m) {
			return fmt.Errorf("SASL mechanism %q is not one of %v", m, known)
		}
		if m != OAuthBearer && len(o.Users) == 0 {
			return fmt.Errorf("SASL mechanism %s without users", m)
		}
	}
	if len(o.Users) > 0 && len(o.SASL) == 0 {
		return fmt.Errorf("users without a SASL mechanism")
	}
	for user, password := range o.Users {
		// They become part of a JAAS string and of a StorageTool argument,
		// each with its own quoting.
		if !wordRE.MatchString(user) || !wordRE.MatchString(password) {
			return fmt.Errorf("user %q: name and password must be of letters, digits, '.', '_' and '-'", user)
		}
	}
	if (o.TLSClientAuth || o.ExpiredCert) && !o.TLS {
		return fmt.Errorf("TLSClientAuth and ExpiredCert need TLS")
	}
	if o.ACLs && len(o.SASL) == 0 && !o.TLSClientAuth {
		return fmt.Errorf("ACLs need SASL or TLSClientAuth: a client without a name is the super user")
	}
	for n := range o.AdvertisedPorts {
		if n < 1 || n > o.Nodes {
			return fmt.Errorf("advertised port for node %d of %d", n, o.Nodes)
		}
	}
	return nil
}

// needsControl names the first option that only a cluster of our own can
// satisfy, or is empty.
func (o Options) needsControl() string {
	switch {
	case o.Version != "":
		return "Version"
	case o.LogDirs > 1:
		return "LogDirs"
	case len(o.Properties) > 0:
		return "Properties"
	case len(o.SASL) > 0:
		return "SASL"
	case o.TLS:
		return "TLS"
	case o.ACLs:
		return "ACLs"
	case len(o.AdvertisedPorts) > 0:
		return "AdvertisedPorts"
	}
	return ""
}

// key is equal for options that describe the same cluster.
func (o Options) key() (string, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encoding options: %w", err)
	}
	return string(b), nil
}

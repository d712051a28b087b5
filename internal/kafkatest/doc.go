//go:build linux || darwin

// Package kafkatest runs a real Apache Kafka cluster for tests: every node is
// a Java process on 127.0.0.1, broker and KRaft controller in one.
//
// A test asks for a cluster and gets a handle whose methods fail that test:
//
//	func TestMain(m *testing.M) { kafkatest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c := kafkatest.Shared(t, kafkatest.Options{Nodes: 3})
//		c.CreateTopic("t", 3, 3, nil)
//		client, err := kgo.NewClient(c.ClientOpts("")...)
//		...
//		c.Kill(c.Leader("t", 0))
//		...
//		records := c.ReadAll("t")
//	}
//
// Shared gives one running cluster per distinct Options to the whole test
// binary; Start gives a cluster to one test alone. What a test did to a shared
// cluster (nodes killed, stopped or frozen, topics, ACLs, quotas) is undone
// when the test ends. Tests that disturb nodes of a shared cluster must not
// run in parallel with others that use it. Other tests may, if each has its own
// topics. Main runs twelve at a time.
//
// # What it needs
//
// Java 17 or newer, and Maven for the first run only, which copies the jars
// named in pom.xml to the user's cache directory. Without them tests skip with
// a sentence that says how to get them, unless CI=true is set: then they fail.
//
// # Your own cluster
//
// With KAFKA_BROKERS=host:port,... the tests use that cluster, without TLS and
// without authentication, and start none. Tests that need control over the
// nodes, their security or their properties skip.
//
//	KAFKA_BROKERS=localhost:9092 go test ./integration/...
package kafkatest

package output

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHints(t *testing.T) {
	t.Parallel()
	const nullText = "a message for which that finds nothing gets the text null as its key"
	for _, test := range []struct{ name, yaml, want string }{
		{"nothing to say", "key: k\nsasl: [ { mechanism: SCRAM-SHA-256, username: a, password: S3cr3tPW } ]", ""},
		{"PLAIN without TLS", "sasl: [ { mechanism: PLAIN, username: a, password: S3cr3tPW } ]", "sasl[0]: PLAIN sends the password as it is, and tls.enabled is not set"},
		{"PLAIN with TLS", "tls: { enabled: true }\nsasl: [ { mechanism: PLAIN, username: a, password: S3cr3tPW } ]", ""},
		{"dead letters to the topic itself", "seed_brokers: [ a:1 ]\ndead_letter: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: t } }", "dead_letter: its topic is that of this output"},
		{"dead letters to another topic", "seed_brokers: [ a:1 ]\ndead_letter: { kafka_guarded: { seed_brokers: [ 'a:1' ], topic: letters } }", ""},
		{"Event Hubs with all that it takes", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB", ""},
		{"Event Hubs and its codecs", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\nbroker_write_max_bytes: 1MB", "Event Hubs: it takes gzip and no other compression"},
		{"Event Hubs and its requests", "seed_brokers: [ 'n.Servicebus.windows.net:9093' ]\ncompression: none", "Event Hubs: broker_write_max_bytes (104857600) is more than it takes (1046528)"},
		{"Event Hubs and idle connections", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB\nconn_idle_timeout: 5m", "Event Hubs: it closes connections that are idle for 4m0s"},
		{"Event Hubs and throttling", "seed_brokers: [ 'n.servicebus.windows.net:9093' ]\ncompression: gzip\nbroker_write_max_bytes: 1MB\npermanent: [ size_exceeded, invalid_record, unroutable, refused ]", "Event Hubs: it throttles with POLICY_VIOLATION, which is refused"},
		{"certificates that are not verified", "tls: { enabled: true, skip_cert_verify: true }", "tls.skip_cert_verify is true: any server on the way"},
		{"certificates that are not verified, without TLS", "tls: { skip_cert_verify: true }", ""},
		{"TLS that is not enabled", "tls: { root_cas_file: ./ca.pem }", "tls.root_cas_file is set, but tls.enabled is not"},
		{"a key by json", `key: '${! json("customer") }'`, `key is ${! json("customer") }: ` + nullText},
		{"a key by this", "key: ${! this.customer.id }", nullText},
		{"a key by metadata", "key: ${!@key}", nullText},
		{"a key by meta", `key: '${! meta("key") }'`, nullText},
		{"a key with another value", `key: '${! json("customer").or("nobody") }'`, ""},
		{"a key that null_key goes with", "key: ${! this.customer }\nnull_key: this.customer == null", ""},
		{"a key of several parts", `key: 'a-${! counter() }'`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conf, err := Spec().ParseYAML(whole(test.yaml), nil)
			require.NoError(t, err)
			p := newParser(conf)
			client, _ := p.config(nil)
			hints := p.hints(client)
			require.NoError(t, p.err())
			if test.want == "" {
				require.Empty(t, hints)
				return
			}
			require.Len(t, hints, 1)
			require.Contains(t, hints[0], test.want)
			require.NotContains(t, hints[0], "S3cr3tPW")
			require.Empty(t, lints(t, test.yaml), "a lint would keep the stream from starting")
		})
	}
}

package output

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// fieldTree is a field, as Benthos describes it in JSON.
type fieldTree struct {
	Name     string
	Type     string
	Kind     string
	Linter   string
	Children []fieldTree
}

// fieldTrees returns the fields of the output, parsed from Benthos' JSON. A spec has no
// other way to list its fields.
var fieldTrees = sync.OnceValue(func() []fieldTree {
	var spec struct {
		Config struct{ Children []fieldTree }
	}
	if view, ok := service.GlobalEnvironment().GetOutputConfig(name); ok {
		if text, err := view.FormatJSON(); err == nil {
			_ = json.Unmarshal(text, &spec)
		}
	}
	return spec.Config.Children
})

func fieldNamed(fields []fieldTree, name string) *fieldTree {
	if i := slices.IndexFunc(fields, func(f fieldTree) bool { return f.Name == name }); i >= 0 {
		return &fields[i]
	}
	return nil
}

// hasRule reports whether a field has a lint rule of its own.
func hasRule(field string) bool {
	f := fieldNamed(fieldTrees(), field)
	return f != nil && f.Linter == lintsOf(field)
}

// misspelt returns the fields that were probably meant by unknown ones.
func misspelt(fields map[string]any) []mistake { return misspeltIn(fieldTrees(), fields, "") }

func misspeltIn(spec []fieldTree, fields map[string]any, prefix string) (found []mistake) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f := fieldNamed(spec, name)
		if f == nil {
			meant := likeliest(spec, name)
			if prefix == "" {
				meant = cmp.Or(elsewhere[strings.ReplaceAll(name, ".", "_")], meant)
			}
			if meant != "" {
				found = append(found, mistake{text: fmt.Sprintf("there is no field %s%s: did you mean %s?", prefix, name, meant)})
			}
			continue
		}
		objects, _ := fields[name].([]any)
		if f.Kind == "scalar" {
			objects = []any{fields[name]}
		}
		for _, o := range objects {
			if inner, ok := o.(map[string]any); ok && f.Type == "object" && len(f.Children) > 0 {
				found = append(found, misspeltIn(f.Children, inner, prefix+name+".")...)
			}
		}
	}
	return found
}

// elsewhere has the names of fields in other software: the Java producer, librdkafka
// and Benthos' other Kafka outputs. Dots are underscores here.
var elsewhere = map[string]string{
	"addresses": fieldSeedBrokers, "brokers": fieldSeedBrokers, "bootstrap_servers": fieldSeedBrokers, "metadata_broker_list": fieldSeedBrokers,
	"linger_ms": fieldBatching + ".period", "batch_size": fieldBatching + ".byte_size",
	"enable_idempotence": fieldIdempotentWrite, "required_acks": fieldAcks, "ack_replicas": fieldAcks,
	"compression_type": fieldCompression, "compression_codec": fieldCompression,
	"max_request_size": fieldMaxMessageBytes, "message_max_bytes": fieldMaxMessageBytes, "max_msg_bytes": fieldMaxMessageBytes,
	"max_in_flight_requests_per_connection": fieldMaxInFlightRequests, "delivery_timeout_ms": fieldRecordDeliveryTimeout,
	"request_timeout_ms": fieldTimeout, "backoff": fieldRetry, "static_headers": fieldMetadata,
	"client_certs": fieldTLS + ".client_certs", "security_protocol": fieldTLS + " and " + fieldSASL,
	"sasl_mechanism": fieldSASL, "sasl_username": fieldSASL, "sasl_password": fieldSASL, "sasl_jaas_config": fieldSASL,
}

// likeliest returns the field that an unknown name is closest to: one letter off, or
// its beginning. It is empty if there is none.
func likeliest(fields []fieldTree, name string) string {
	for _, f := range fields {
		if oneOff(name, f.Name) {
			return f.Name
		}
	}
	for _, f := range fields {
		if strings.HasPrefix(f.Name, name) || strings.HasPrefix(name, f.Name) {
			return f.Name
		}
	}
	return ""
}

// oneOff reports whether two names differ by one letter more, less or changed, or by
// two letters swapped. It ignores case, and takes hyphens and dots for underscores.
func oneOff(a, b string) bool {
	plain := strings.NewReplacer("-", "_", ".", "_")
	a, b = plain.Replace(strings.ToLower(a)), plain.Replace(strings.ToLower(b))
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:] // from the first difference on
	switch {
	case x == "":
		return len(y) <= 1
	case len(x) < len(y):
		return x == y[1:]
	case len(x) > 1 && x[0] == y[1] && x[1] == y[0]:
		return x[2:] == y[2:]
	}
	return len(x) == len(y) && x[1:] == y[1:]
}

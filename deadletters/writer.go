package deadletters

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// fates is the name of the output that gets the outcome of each message. It is only in
// the environment of a writer.
const fates = "dead_letters_fates"

// writer writes items by kafka_guarded outputs: one for items with a known partition,
// one for the others.
type writer struct {
	settings settings
	log      io.Writer

	mu      sync.Mutex
	items   []*item // of the batch in flight
	outlets map[bool]*outlet
}

// outlet is a kafka_guarded output, taken out of its resources. Those are locked while
// they are accessed, so the output could not be closed during a write.
type outlet struct {
	out   *service.ResourceOutput
	close func(context.Context) error
}

const outletName = "redrive"

// write writes the items, and gives each its fate. It returns when all fates are known,
// or when ctx ends. The fates known by then are right.
func (w *writer) write(ctx context.Context, items []*item) error {
	w.mu.Lock()
	w.items = items
	w.mu.Unlock()
	var batches [2]service.MessageBatch
	for i, it := range items {
		if it.fate.kind != unknown {
			continue
		}
		n := 0
		if it.record.partition >= 0 {
			n = 1
		}
		batches[n] = append(batches[n], it.record.message(i, it.content))
	}
	for n, batch := range batches {
		if len(batch) == 0 {
			continue
		}
		o, err := w.outlet(n == 1)
		if err != nil {
			return err
		}
		if err := o.write(ctx, batch); err != nil && ctx.Err() != nil {
			return err
		} // otherwise the fates say what failed
	}
	return nil
}

// write ends when ctx does: closing the output ends its running write.
func (o *outlet) write(ctx context.Context, batch service.MessageBatch) error {
	stop := context.AfterFunc(ctx, func() { _ = o.close(ctx) })
	defer stop()
	return o.out.WriteBatch(context.WithoutCancel(ctx), batch)
}

// heard enters the fates of messages: from delivery_report and, before that, from
// dead_letter.
func (w *writer) heard(batch service.MessageBatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range batch {
		get := func(name string) string { value, _ := m.MetaGet(name); return value }
		id, err := strconv.Atoi(get(controlID))
		if err != nil || id >= len(w.items) {
			continue
		}
		f := &w.items[id].fate
		switch get("kafka_guarded_outcome") {
		case "":
			f.bytes, f.limit = get(metaBytes), get(metaLimit)
			continue
		case "delivered":
			f.kind = delivered
		case "not_written":
			f.kind = failedAgain
		default:
			f.kind = unknown
		}
		f.topic, f.class, f.err = get(metaTopic), get(metaClass), get(metaError)
		f.partition, f.offset = int32(number([]byte(get(metaPartition)), -1)), number([]byte(get("kafka_guarded_offset")), -1)
	}
}

func (w *writer) outlet(manual bool) (*outlet, error) {
	if o := w.outlets[manual]; o != nil {
		return o, nil
	}
	env := service.GlobalEnvironment().Clone()
	err := env.RegisterBatchOutput(fates, service.NewConfigSpec(), func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		return listener{w}, service.BatchPolicy{}, 1, nil
	})
	if err != nil {
		return nil, err
	}
	builder := env.NewResourceBuilder()
	builder.SetLogger(slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: plainLog})))
	yaml, err := w.config(manual)
	if err != nil {
		return nil, err
	}
	if err := builder.AddOutputYAML(yaml); err != nil {
		return nil, fmt.Errorf("making the output: %w", err)
	}
	resources, closeAll, err := builder.Build()
	if err != nil {
		return nil, fmt.Errorf("making the output: %w", err)
	}
	o := &outlet{close: closeAll}
	if err := resources.AccessOutput(context.Background(), outletName, func(out *service.ResourceOutput) { o.out = out }); err != nil {
		return nil, fmt.Errorf("making the output: %w", err)
	}
	if w.outlets == nil {
		w.outlets = map[bool]*outlet{}
	}
	w.outlets[manual] = o
	return o, nil
}

// plainLog keeps only the message of a log line.
func plainLog(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.MessageKey, slog.TimeKey, slog.LevelKey:
		return a
	}
	return slog.Attr{}
}

// config is the config of an output.
func (w *writer) config(manual bool) (string, error) {
	text := func(name string) string { return fmt.Sprintf("${! metadata(%s) }", quoted(name)) }
	fields := w.settings.connection()
	for name, value := range map[string]any{
		"topic":                            fmt.Sprintf("${! metadata(%s).not_null() }", quoted(controlTopic)),
		"key":                              text(controlKey),
		"null_key":                         "metadata(" + quoted(controlNullKey) + ")",
		"tombstone":                        "metadata(" + quoted(controlNull) + ")",
		"timestamp_ms":                     text(controlTimestamp),
		"metadata":                         map[string]any{"include_patterns": []any{`^([^\x00]|$)`}},
		"max_in_flight":                    1,
		"report_failures":                  "per_batch",
		"dead_letter":                      map[string]any{fates: map[string]any{}},
		"delivery_report":                  map[string]any{fates: map[string]any{}},
		"delivery_report_max_elapsed_time": "24h",
	} {
		fields[name] = value
	}
	switch p := w.settings.partitioner(); {
	case manual:
		fields["partitioner"], fields["partition"] = "manual", text(controlPartition)
	case p != "":
		fields["partitioner"] = p
	}
	yaml, err := json.Marshal(map[string]any{"label": outletName, "kafka_guarded": fields}) // which is YAML, too
	if err != nil {
		return "", err
	}
	return variable.ReplaceAllString(string(yaml), "$${{$1}}"), nil
}

// variable matches what Benthos would replace by an environment variable. Variables
// were replaced before, so a match is part of a value.
var variable = regexp.MustCompile(`\$\{([0-9A-Za-z_.]+(?::[^}]*)?(?:\|[0-9A-Za-z]+)?)\}`)

// quoted is a text in Bloblang.
func quoted(name string) string {
	return `"` + strings.ReplaceAll(name, "\x00", `\u0000`) + `"`
}

// close ends the outputs.
func (w *writer) close() {
	for _, o := range w.outlets {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_ = o.close(ctx)
		cancel()
	}
}

// listener is the output that gets the outcomes of messages.
type listener struct{ writer *writer }

func (l listener) Connect(context.Context) error { return nil }

func (l listener) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	l.writer.heard(batch)
	return nil
}

func (l listener) Close(context.Context) error { return nil }

// The peer that is the OpenTelemetry Collector's Kafka exporter: a log record is a
// message, all in one request of the pipeline.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		log.Fatal(err)
	}
}

func run(brokers, topic, file string) error {
	ctx := context.Background()
	factory := kafkaexporter.NewFactory()
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{
		"brokers": []any{brokers},
		"logs":    map[string]any{"topic": topic, "encoding": "raw"},
	}).Unmarshal(config); err != nil {
		return err
	}
	settings := exporter.Settings{ID: component.NewID(factory.Type()), TelemetrySettings: componenttest.NewNopTelemetrySettings(), BuildInfo: component.NewDefaultBuildInfo()}
	settings.Logger = zap.Must(zap.NewDevelopment())
	e, err := factory.CreateLogs(ctx, settings, config)
	if err != nil {
		return err
	}
	if err := e.Start(ctx, componenttest.NewNopHost()); err != nil {
		return err
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, all := range [][]string{strings.Split(strings.TrimSuffix(string(lines), "\n"), "\n"), {"next\tnext."}} {
		logs := plog.NewLogs()
		records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for _, line := range all {
			_, value, _ := strings.Cut(line, "\t")
			records.AppendEmpty().Body().SetStr(value)
		}
		err := e.ConsumeLogs(ctx, logs)
		fmt.Fprintln(os.Stderr, "ConsumeLogs:", err)
		time.Sleep(15 * time.Second)
	}
	return e.Shutdown(ctx)
}

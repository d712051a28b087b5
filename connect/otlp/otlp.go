// Package otlp gives a Benthos binary the tracer open_telemetry_collector, which
// sends spans to OpenTelemetry collectors by OTLP over HTTP. Importing it for its
// side effect is all it takes:
//
//	import _ "github.com/kafka-guarded/kafka-guarded/connect/otlp"
//
// The fields are those of Redpanda Connect's tracer of this name that go with
// HTTP. That one is not under the Apache License, and so not in our binaries. A
// binary has one or the other: a name is registered once.
package otlp

import (
	"context"
	"errors"
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	fieldService       = "service"
	fieldHTTP          = "http"
	fieldAddress       = "address"
	fieldSecure        = "secure"
	fieldTags          = "tags"
	fieldSampling      = "sampling"
	fieldSampleEnabled = "enabled"
	fieldSampleRatio   = "ratio"
)

func init() {
	service.MustRegisterOtelTracerProvider("open_telemetry_collector", spec(), provider)
}

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Summary("Sends spans to OpenTelemetry collectors, by OTLP over HTTP.").
		Fields(
			service.NewStringField(fieldService).Default("benthos").
				Description("The name of the service in traces."),
			service.NewObjectListField(fieldHTTP,
				service.NewStringField(fieldAddress).Default("localhost:4318").
					Description("Host and port of the collector."),
				service.NewBoolField(fieldSecure).Default(false).
					Description("Connect to it by TLS."),
			).Description("The collectors. Each gets all spans."),
			service.NewStringMapField(fieldTags).Default(map[string]any{}).Advanced().
				Description("Attributes of all spans."),
			service.NewObjectField(fieldSampling,
				service.NewBoolField(fieldSampleEnabled).Default(false).
					Description("Send a share of the traces instead of all."),
				service.NewFloatField(fieldSampleRatio).Optional().
					Description("The share, from 0 to 1.").Example(0.05),
			).Description("Which traces are sent.").Advanced(),
		)
}

func provider(conf *service.ParsedConfig) (trace.TracerProvider, error) {
	name, err := conf.FieldString(fieldService)
	if err != nil {
		return nil, err
	}
	tags, err := conf.FieldStringMap(fieldTags)
	if err != nil {
		return nil, err
	}
	attributes := []attribute.KeyValue{
		attribute.String("service.name", name),
		attribute.String("service.version", conf.EngineVersion()),
	}
	for key, value := range tags {
		attributes = append(attributes, attribute.String(key, value))
	}
	opts := []sdk.TracerProviderOption{sdk.WithResource(resource.NewSchemaless(attributes...))}
	sampler, err := sampler(conf.Namespace(fieldSampling))
	if err != nil {
		return nil, err
	}
	opts = append(opts, sdk.WithSampler(sampler))
	collectors, err := conf.FieldObjectList(fieldHTTP)
	if err != nil {
		return nil, err
	}
	for _, collector := range collectors {
		exporter, err := exporter(collector)
		if err != nil {
			return nil, err
		}
		opts = append(opts, sdk.WithBatcher(exporter))
	}
	return sdk.NewTracerProvider(opts...), nil
}

func sampler(conf *service.ParsedConfig) (sdk.Sampler, error) {
	enabled, err := conf.FieldBool(fieldSampleEnabled)
	if err != nil || !enabled {
		return sdk.AlwaysSample(), err
	}
	if !conf.Contains(fieldSampleRatio) {
		return nil, errors.New("sampling is enabled: set sampling.ratio, from 0 to 1")
	}
	ratio, err := conf.FieldFloat(fieldSampleRatio)
	if err != nil {
		return nil, err
	}
	if ratio < 0 || ratio > 1 {
		return nil, fmt.Errorf("sampling.ratio is %v, it goes from 0 to 1", ratio)
	}
	return sdk.ParentBased(sdk.TraceIDRatioBased(ratio)), nil
}

func exporter(conf *service.ParsedConfig) (sdk.SpanExporter, error) {
	address, err := conf.FieldString(fieldAddress)
	if err != nil {
		return nil, err
	}
	secure, err := conf.FieldBool(fieldSecure)
	if err != nil {
		return nil, err
	}
	opts := []otlptracehttp.Option{otlptracehttp.WithEndpoint(address)}
	if !secure {
		opts = append(opts, otlptracehttp.WithInsecure())
	}
	exporter, err := otlptracehttp.New(context.Background(), opts...)
	if err != nil {
		return nil, fmt.Errorf("collector %s: %w", address, err)
	}
	return exporter, nil
}

//go:build linux || darwin

// Package reported repeats on Apache Kafka the faults that users of other pipelines
// reported. None of them happens here.
package reported

import (
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

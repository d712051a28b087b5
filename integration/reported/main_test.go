//go:build linux || darwin

// Package reported shows on Apache Kafka that what was reported of other pipelines does not
// happen here.
package reported

import (
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

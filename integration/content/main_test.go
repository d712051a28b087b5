//go:build linux || darwin

package content

import (
	"testing"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

package binary

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStamps(t *testing.T) {
	version, date := Stamps("v1.2.3", "2026-01-02")
	require.Equal(t, "v1.2.3", version)
	require.Equal(t, "2026-01-02", date)
	version, date = Stamps("", "")
	require.NotEmpty(t, version)
	require.NotEmpty(t, date)
}

func TestTuneGC(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Run("not with "+name, func(t *testing.T) {
			t.Setenv("GOGC", "")
			t.Setenv("GOMEMLIMIT", "")
			t.Setenv(name, "100")
			TuneGC()
			require.Nil(t, reserve.Load())
		})
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	defer reserve.Store(nil)
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(TuneGC)
	}
	calls.Wait()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.GreaterOrEqual(t, m.NextGC, uint64(2*headroom))
}

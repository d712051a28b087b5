package demo

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// written is what was written so far.
type written struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestGatewayAnswersItsCurl(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var out written
	done := make(chan error, 1)
	go func() { done <- Gateway(ctx, Options{Out: &out}) }()
	url := regexp.MustCompile(`http://[^ \n]*/topics/orders`)
	var answer string
	require.Eventually(t, func() bool {
		at := url.FindString(out.String())
		if at == "" {
			return false
		}
		resp, err := http.Post(at, "application/json", strings.NewReader(`[ {"id": 1}, {"id": 2} ]`))
		if err != nil {
			return false // it is not up yet
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answer = string(body)
		return err == nil
	}, 4*time.Minute, 20*time.Millisecond)
	require.Regexp(t, `^{"offsets":\[{"offset":0,"partition":\d},{"offset":\d,"partition":\d}\]}$`, answer)
	cancel()
	require.NoError(t, <-done)
	require.Contains(t, out.String(), `{"id":1}`)
}

package output

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that is being written has no certificate for a moment, or a part of one. The
// certificates of before hold until it can be used.
func TestCertificatesOfBeforeHoldWhileTheirFileIsWritten(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	whole := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	conf, err := Spec().ParseYAML("topic: t\nseed_brokers: [ a:1 ]\ntls: { enabled: true, root_cas_file: "+path+" }", nil)
	require.NoError(t, err)
	p := newParser(conf)
	d := p.dialer()
	require.NoError(t, p.err())
	for _, content := range []string{string(whole), "", string(whole[:len(whole)/2]), "no certificate", string(whole)} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		conn, err := d.dial(t.Context(), "tcp", server.Listener.Addr().String())
		require.NoError(t, err, content)
		require.NoError(t, conn.Close())
	}
	require.NoError(t, os.Remove(path))
	conn, err := d.dial(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

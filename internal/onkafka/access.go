//go:build linux || darwin

package onkafka

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
)

// As returns the fields of a stream to the secured cluster as a user.
func As(t *testing.T, c *kafkatest.Cluster, mechanism, user, password string) Fields {
	t.Helper()
	login := Fields{"mechanism": mechanism, "username": user, "password": password}
	if mechanism == kafkatest.OAuthBearer {
		login = Fields{"mechanism": mechanism, "token": kafkatest.UnsecuredToken(user, time.Hour)}
	}
	return Defaults(c).With(Fields{
		"tls":  Fields{"enabled": true, "root_cas_file": PemFile(t, c.Certs().CA)},
		"sasl": []any{login},
	})
}

// PemFile writes a file that is deleted after the test, and returns its path.
func PemFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// MayWrite allows a user to write to a topic.
func MayWrite(c *kafkatest.Cluster, user, topic string) {
	c.Grant("User:"+user, kadm.OpWrite, kafkatest.TopicResource(topic))
}

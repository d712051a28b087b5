package aws

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/kafka-guarded/kafka-guarded/output"
)

const broker = "b-1.orders.abc123.c2.kafka.eu-central-1.amazonaws.com:9098"

// authenticate returns the first message of a client with these fields of `sasl.aws` to
// a broker of Amazon MSK.
func authenticate(t *testing.T, fields string) (said map[string]string) {
	t.Helper()
	conf, err := output.Spec().ParseYAML(`
seed_brokers: [ "`+broker+`" ]
topic: orders
sasl: [ { mechanism: AWS_MSK_IAM`+fields+` } ]
`, nil)
	require.NoError(t, err)
	list, err := conf.FieldObjectList("sasl")
	require.NoError(t, err)
	m, err := mechanism(list[0].Namespace("aws"))
	require.NoError(t, err)
	require.Equal(t, "AWS_MSK_IAM", m.Name())
	_, first, err := m.Authenticate(t.Context(), broker)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(first, &said))
	require.Equal(t, "kafka-cluster:Connect", said["action"])
	require.Contains(t, said["x-amz-credential"], "/eu-central-1/kafka-cluster/aws4_request")
	return said
}

// withoutAWS hides the AWS settings of the machine.
func withoutAWS(t *testing.T) (home string) {
	home = t.TempDir()
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value) // so that it is restored after the test
			require.NoError(t, os.Unsetenv(name))
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	return home
}

func TestCredentialsOfTheFields(t *testing.T) {
	withoutAWS(t)
	said := authenticate(t, `, aws: { region: eu-central-1, credentials: { id: AKIDFIELDS, secret: hush, token: session } }`)
	require.True(t, strings.HasPrefix(said["x-amz-credential"], "AKIDFIELDS/"))
	require.Equal(t, "session", said["x-amz-security-token"])
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	withoutAWS(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hush")
	said := authenticate(t, "")
	require.True(t, strings.HasPrefix(said["x-amz-credential"], "AKIDENV/"))
	require.Empty(t, said["x-amz-security-token"])
}

func TestCredentialsOfAProfile(t *testing.T) {
	home := withoutAWS(t)
	require.NoError(t, os.WriteFile(filepath.Join(home, "credentials"), []byte(
		"[orders]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = hush\n"), 0o600))
	said := authenticate(t, ", aws: { credentials: { profile: orders } }")
	require.True(t, strings.HasPrefix(said["x-amz-credential"], "AKIDPROFILE/"))
}

func TestAbsentProfileEndsTheStart(t *testing.T) {
	withoutAWS(t)
	stream := service.NewStreamBuilder()
	stream.DisableLinting()
	require.NoError(t, stream.SetYAML(`
input: { generate: { count: 1, mapping: root = "x" } }
output:
  kafka_guarded:
    seed_brokers: [ "`+broker+`" ]
    topic: orders
    sasl: [ { mechanism: AWS_MSK_IAM, aws: { credentials: { profile: nobody } } } ]
`))
	built, err := stream.Build()
	require.NoError(t, err)
	require.ErrorContains(t, built.Run(t.Context()), "nobody")
}

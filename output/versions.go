package output

import (
	"context"
	"errors"
	"io"
	"slices"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// From version 5 on, ApiVersions names the cluster and the broker that the client expects
// (KIP-1242). kgo sends it to each broker of a cluster that it knows, but to no seed. Some
// services close the connection on it.
const newestForAll = 4

// OlderVersions is the value of max_versions for services that close the connection on the
// newest ApiVersions request: the newest Kafka without it.
var OlderVersions = func() string {
	for _, name := range kversion.VersionStrings() {
		if v, ok := kversion.FromString(name).LookupMaxKeyVersion(int16(kmsg.ApiVersions)); ok && v <= newestForAll {
			return name
		}
	}
	return ""
}()

// maxVersions reads the newest version of Kafka whose requests may be sent.
func (p *parser) maxVersions() *kversion.Versions {
	if !p.has(fieldMaxVersions) {
		return nil
	}
	text := p.string(fieldMaxVersions)
	all := kversion.VersionStrings()
	oldest := slices.Index(all, "v0.11.0") // has record batches and their headers
	versions := kversion.FromString(text)
	if versions == nil || slices.ContainsFunc(all[oldest+1:], func(name string) bool { return versions.Equal(kversion.FromString(name)) }) {
		p.fail(fieldMaxVersions, "is %q, it must be a version of Kafka from %s to %s", text, all[oldest], all[0])
		return nil
	}
	return versions
}

// closedAtOnce reports whether a broker closed a connection in place of its first answer.
func closedAtOnce(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// refusesNewest reports whether brokers close the connection on the newest ApiVersions
// request, and answer to older ones. Both are tried.
func (c *clientConfig) refusesNewest(ctx context.Context, seeds []string) bool {
	return c.maxVersions == nil &&
		closedAtOnce(c.callBrokers(ctx, seeds)) &&
		c.callBrokers(ctx, seeds, kgo.MaxVersions(kversion.FromString(OlderVersions))) == nil
}

// callBrokers sends each broker of the cluster a request that takes no rights.
func (c *clientConfig) callBrokers(ctx context.Context, seeds []string, more ...kgo.Opt) error {
	kafka, err := kgo.NewClient(slices.Concat(c.opts, []kgo.Opt{kgo.SeedBrokers(seeds...), kgo.WithLogger(nil)}, more)...)
	if err != nil {
		return err
	}
	defer kafka.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := req.RequestWith(ctx, kafka)
	if err != nil {
		return err
	}
	for _, b := range resp.Brokers {
		if _, err := kafka.Broker(int(b.NodeID)).Request(ctx, req); err != nil {
			return err
		}
	}
	return nil
}

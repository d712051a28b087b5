//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Resource is what an ACL is about.
type Resource struct {
	kind kmsg.ACLResourceType
	name string
}

// TopicResource is a topic.
func TopicResource(topic string) Resource {
	return Resource{kmsg.ACLResourceTypeTopic, topic}
}

// GroupResource is a consumer group.
func GroupResource(group string) Resource {
	return Resource{kmsg.ACLResourceTypeGroup, group}
}

// TransactionalIDResource is a transactional ID.
func TransactionalIDResource(id string) Resource {
	return Resource{kmsg.ACLResourceTypeTransactionalId, id}
}

// ClusterResource is the cluster.
func ClusterResource() Resource {
	return Resource{kmsg.ACLResourceTypeCluster, "kafka-cluster"}
}

func (r Resource) String() string { return r.kind.String() + " " + r.name }

// acl builds the ACL that allows the principal the operation, from any host.
func (r Resource) acl(principal string, op kadm.ACLOperation) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow(principal).AllowHosts("*").Operations(op).
		ResourcePatternType(kadm.ACLPatternLiteral)
	switch r.kind {
	case kmsg.ACLResourceTypeTopic:
		return b.Topics(r.name)
	case kmsg.ACLResourceTypeGroup:
		return b.Groups(r.name)
	case kmsg.ACLResourceTypeTransactionalId:
		return b.TransactionalIDs(r.name)
	}
	return b.Clusters()
}

// Grant allows a principal such as "User:alice" an operation on a resource,
// and returns when every running node goes by it. On a shared cluster it is
// revoked when the test ends.
func (c *Cluster) Grant(principal string, op kadm.ACLOperation, on Resource) {
	c.tb.Helper()
	c.needControl("control over ACLs")
	if !c.c.opts.ACLs {
		c.tb.Fatalf("kafkatest: granting on a cluster without Options.ACLs")
	}
	ctx, cancel := opContext()
	defer cancel()
	results, err := c.c.admin.CreateACLs(ctx, on.acl(principal, op))
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	c.must(err, "granting %s %s on %s", principal, op, on)
	if c.shared {
		c.tb.Cleanup(func() {
			ctx, cancel := opContext()
			defer cancel()
			if _, err := c.c.revoke(ctx, principal, op, on); err != nil {
				c.tb.Errorf("kafkatest: revoking %s %s on %s: %v", principal, op, on, err)
			}
		})
	}
	c.must(c.c.settle(ctx), "granting %s %s on %s", principal, op, on)
}

// Revoke takes back what Grant allowed, and returns when every running node
// goes by it.
func (c *Cluster) Revoke(principal string, op kadm.ACLOperation, on Resource) {
	c.tb.Helper()
	c.needControl("control over ACLs")
	ctx, cancel := opContext()
	defer cancel()
	deleted, err := c.c.revoke(ctx, principal, op, on)
	if err == nil && deleted == 0 {
		err = errors.New("it was not granted")
	}
	c.must(err, "revoking %s %s on %s", principal, op, on)
}

func (c *cluster) revoke(ctx context.Context, principal string, op kadm.ACLOperation, on Resource) (deleted int, err error) {
	results, err := c.admin.DeleteACLs(ctx, on.acl(principal, op))
	for _, r := range results {
		err = errors.Join(err, r.Err)
		for _, d := range r.Deleted {
			err = errors.Join(err, d.Err)
			deleted++
		}
	}
	if err != nil {
		return deleted, err
	}
	return deleted, c.settle(ctx)
}

// SetQuota limits the bytes per second that each broker takes from a user, a
// client ID, or the two together (leave the other empty), and returns when
// every running node goes by it. A rate of 0 removes the limit. On a shared
// cluster it is removed when the test ends.
func (c *Cluster) SetQuota(user, clientID string, producerByteRate float64) {
	c.tb.Helper()
	c.needControl("control over quotas")
	var entity kadm.ClientQuotaEntity
	if user != "" {
		entity = append(entity, kadm.ClientQuotaEntityComponent{Type: "user", Name: &user})
	}
	if clientID != "" {
		entity = append(entity, kadm.ClientQuotaEntityComponent{Type: "client-id", Name: &clientID})
	}
	if len(entity) == 0 {
		c.tb.Fatalf("kafkatest: a quota for neither a user nor a client ID")
	}
	ctx, cancel := opContext()
	defer cancel()
	c.must(c.c.setQuota(ctx, entity, "producer_byte_rate", producerByteRate), "setting the quota of %s", entity)
	if c.shared && producerByteRate != 0 {
		c.tb.Cleanup(func() {
			ctx, cancel := opContext()
			defer cancel()
			if err := c.c.setQuota(ctx, entity, "producer_byte_rate", 0); err != nil {
				c.tb.Errorf("kafkatest: removing the quota of %s: %v", entity, err)
			}
		})
	}
	c.must(c.c.settle(ctx), "setting the quota of %s", entity)
}

func (c *cluster) setQuota(ctx context.Context, entity kadm.ClientQuotaEntity, key string, value float64) error {
	altered, err := c.admin.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{
		Entity: entity,
		Ops:    []kadm.AlterClientQuotaOp{{Key: key, Value: value, Remove: value == 0}},
	}})
	for _, a := range altered {
		err = errors.Join(err, a.Err)
	}
	return err
}

// settle returns when every running node of a cluster of our own goes by all
// changes made before.
//
// Nodes read changes from one ordered log. They show a change first and act by
// it a moment later, but finish with one before they show the next. So settle
// makes a change of its own (a quota of a client that is not there), waits
// until all nodes show it, and does so once more: a node that shows the second has
// finished with the first, and with all before it.
func (c *cluster) settle(ctx context.Context) error {
	if c.external() {
		return nil
	}
	c.settleMu.Lock()
	defer c.settleMu.Unlock()
	if c.zk != nil {
		return c.settleInLog(ctx)
	}
	const kind, key = "ip", "connection_creation_rate"
	name := "192.0.2.1" // an address for documentation, RFC 5737
	component := kmsg.NewDescribeClientQuotasRequestComponent()
	component.EntityType = kind
	component.Match = &name
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Components = append(req.Components, component)
	for range 2 {
		c.settled++
		entity := kadm.ClientQuotaEntity{{Type: kind, Name: &name}}
		if err := c.setQuota(ctx, entity, key, c.settled); err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		err := c.everywhere(ctx, req, func(resp kmsg.Response) error {
			r := resp.(*kmsg.DescribeClientQuotasResponse)
			if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
				return err
			}
			for _, e := range r.Entries {
				for _, v := range e.Values {
					if v.Key == key && v.Value == c.settled {
						return nil
					}
				}
			}
			return errors.New("a later change is not there yet")
		})
		if err != nil {
			return fmt.Errorf("settling: %w", err)
		}
	}
	return nil
}

// Package aws gives the kafka_guarded output the SASL mechanism AWS_MSK_IAM,
// with the credential chain of the AWS SDK. Importing it for its side effect is
// all it takes:
//
//	import _ "github.com/kafka-guarded/kafka-guarded/connect/aws"
package aws

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
	"github.com/twmb/franz-go/pkg/sasl"
	msk "github.com/twmb/franz-go/pkg/sasl/aws"

	"github.com/kafka-guarded/kafka-guarded/output"
)

func init() { output.RegisterAWS(mechanism) }

// mechanism makes the mechanism from the fields of `sasl.aws`. Credentials are fetched
// for each connection, and renewed before they expire.
func mechanism(conf *service.ParsedConfig) (sasl.Mechanism, error) {
	provider, err := provider(context.Background(), conf)
	if err != nil {
		return nil, err
	}
	return msk.ManagedStreamingIAM(func(ctx context.Context) (msk.Auth, error) {
		creds, err := provider.Retrieve(ctx)
		if err != nil {
			return msk.Auth{}, fmt.Errorf("retrieving AWS credentials: %w", err)
		}
		return msk.Auth{
			AccessKey:    creds.AccessKeyID,
			SecretKey:    creds.SecretAccessKey,
			SessionToken: creds.SessionToken,
		}, nil
	}), nil
}

// provider returns the source of credentials: the fields, or else the SDK's own chain.
// The order of preference is that of kafka_franz.
func provider(ctx context.Context, conf *service.ParsedConfig) (aws.CredentialsProvider, error) {
	text := func(path ...string) string {
		value, _ := conf.FieldString(path...) // optional
		return value
	}
	var opts []func(*config.LoadOptions) error
	if region := text("region"); region != "" {
		opts = append(opts, config.WithRegion(region))
	}
	if conf.Contains("tcp") {
		tcp, err := netutil.DialerConfigFromParsed(conf.Namespace("tcp"))
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		if err := netutil.DecorateDialer(&d, tcp); err != nil {
			return nil, err
		}
		opts = append(opts, config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.DialContext = d.DialContext
		})))
	}
	if profile := text("credentials", "profile"); profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(profile))
	} else if id := text("credentials", "id"); id != "" {
		opts = append(opts, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(
			id, text("credentials", "secret"), text("credentials", "token"))))
	}
	session, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	if endpoint := text("endpoint"); endpoint != "" {
		session.BaseEndpoint = &endpoint
	}
	if fromRole, _ := conf.FieldBool("credentials", "from_ec2_role"); fromRole {
		return aws.NewCredentialsCache(ec2rolecreds.New()), nil
	}
	if role := text("credentials", "role"); role != "" {
		assumed := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(session), role, func(o *stscreds.AssumeRoleOptions) {
			if id := text("credentials", "role_external_id"); id != "" {
				o.ExternalID = &id
			}
		})
		return aws.NewCredentialsCache(assumed), nil
	}
	return session.Credentials, nil
}

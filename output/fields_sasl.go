package output

import (
	"fmt"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/redpanda-data/benthos/v4/public/utils/netutil"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	fieldSASL           = "sasl"
	fieldSASLMechanism  = "mechanism"
	fieldSASLUsername   = "username"
	fieldSASLPassword   = "password"
	fieldSASLToken      = "token"
	fieldSASLExtensions = "extensions"

	fieldSASLAWS               = "aws"
	fieldSASLAWSRegion         = "region"
	fieldSASLAWSEndpoint       = "endpoint"
	fieldSASLAWSCredentials    = "credentials"
	fieldSASLAWSProfile        = "profile"
	fieldSASLAWSID             = "id"
	fieldSASLAWSSecret         = "secret"
	fieldSASLAWSToken          = "token"
	fieldSASLAWSFromEC2Role    = "from_ec2_role"
	fieldSASLAWSRole           = "role"
	fieldSASLAWSRoleExternalID = "role_external_id"
)

const (
	saslNone        = "none"
	saslPlain       = "PLAIN"
	saslScramSHA256 = "SCRAM-SHA-256"
	saslScramSHA512 = "SCRAM-SHA-512"
	saslOAuthBearer = "OAUTHBEARER"
	saslAWSMSKIAM   = "AWS_MSK_IAM"
)

// awsMechanism makes the mechanism AWS_MSK_IAM. It is nil in a binary without
// the AWS SDK.
var awsMechanism func(conf *service.ParsedConfig) (sasl.Mechanism, error)

// RegisterAWS sets the function that makes the mechanism AWS_MSK_IAM out of the fields
// of `sasl.aws`. Package connect/aws calls it when it is imported. That package needs
// the AWS SDK, and other programs need not link it. Call RegisterAWS from an init
// function only.
func RegisterAWS(mechanism func(conf *service.ParsedConfig) (sasl.Mechanism, error)) {
	awsMechanism = mechanism
}

func saslField() *service.ConfigField {
	return service.NewObjectListField(fieldSASL,
		service.NewStringAnnotatedEnumField(fieldSASLMechanism, map[string]string{
			saslNone:        "No authentication.",
			saslPlain:       "Username and password as they are: use it with `tls` only.",
			saslScramSHA256: "Username and password by challenge and response, as specified in RFC 5802.",
			saslScramSHA512: "Username and password by challenge and response, as specified in RFC 5802.",
			saslOAuthBearer: "A bearer token.",
			saslAWSMSKIAM:   "AWS IAM, as Amazon MSK takes it. It needs a binary that imports `github.com/kafka-guarded/kafka-guarded/connect/aws`, such as `kafka-guarded-connect`.",
		}).
			Description("The SASL mechanism to use. Kafka's `sasl.mechanism`."),
		service.NewStringField(fieldSASLUsername).
			Description("A username to provide for PLAIN or SCRAM-* authentication.").
			Default(""),
		service.NewStringField(fieldSASLPassword).
			Description("A password to provide for PLAIN or SCRAM-* authentication.").
			Default("").Secret(),
		service.NewStringField(fieldSASLToken).
			Description("The token to use for a single session's OAUTHBEARER authentication.").
			Default("").Secret(),
		service.NewStringMapField(fieldSASLExtensions).
			Description("Key/value pairs to add to OAUTHBEARER authentication requests.").
			Optional().Secret(),
		awsField(),
	).LintRule(lintsOf(fieldSASL)).
		Description("One or more methods of SASL authentication, in order of preference: the first one that the broker offers is used.").
		Advanced().Optional().
		Example([]any{map[string]any{
			fieldSASLMechanism: saslScramSHA512,
			fieldSASLUsername:  "foo",
			fieldSASLPassword:  "bar",
		}})
}

func awsField() *service.ConfigField {
	return service.NewObjectField(fieldSASLAWS,
		service.NewStringField(fieldSASLAWSRegion).
			Description("The AWS region. For the brokers themselves it is taken from their names.").
			Optional().
			Advanced(),
		service.NewStringField(fieldSASLAWSEndpoint).
			Description("A custom endpoint for the AWS API.").
			Optional().
			Advanced(),
		netutil.DialerConfigSpec(),
		service.NewObjectField(fieldSASLAWSCredentials,
			service.NewStringField(fieldSASLAWSProfile).
				Description("A profile from `~/.aws/credentials`.").
				Optional(),
			service.NewStringField(fieldSASLAWSID).
				Description("The ID of the credentials.").
				Optional().Advanced(),
			service.NewStringField(fieldSASLAWSSecret).
				Description("The secret of the credentials.").
				Optional().Advanced().Secret(),
			service.NewStringField(fieldSASLAWSToken).
				Description("The token of the credentials, if they are short-term ones.").
				Optional().Advanced().Secret(),
			service.NewBoolField(fieldSASLAWSFromEC2Role).
				Description("Use the role of the EC2 instance.").
				Optional(),
			service.NewStringField(fieldSASLAWSRole).
				Description("The ARN of a role to assume.").
				Optional().Advanced(),
			service.NewStringField(fieldSASLAWSRoleExternalID).
				Description("An external ID to provide when a role is assumed.").
				Optional().Advanced(),
		).
			Description("The credentials to use. Left out, they are searched for where the AWS SDK does: environment variables, shared files, the container's and the instance's role.").
			Advanced().
			Optional(),
	).
		Description("How to get credentials when the `mechanism` is `AWS_MSK_IAM`.").
		Optional()
}

// sasl returns the configured mechanisms, nil if there are none.
func (p *parser) sasl() *mechanisms {
	var all []sasl.Mechanism
	for i, c := range optional(p, fieldSASL, p.conf.FieldObjectList) {
		in := p.of(c, fmt.Sprintf("%s[%d]", fieldSASL, i))
		if m := in.mechanism(); m != nil {
			all = append(all, m)
		}
	}
	return newMechanisms(all)
}

// mechanism returns nil if there is none, or if it is wrong.
func (p *parser) mechanism() sasl.Mechanism {
	needs := func(field, mechanism, needs string) string {
		value := p.string(field)
		if value == "" {
			p.fail(field, "is empty: %s takes %s", mechanism, needs)
		}
		return value
	}
	switch name := p.string(fieldSASLMechanism); name {
	case "", saslNone:
		return nil
	case saslPlain, saslScramSHA256, saslScramSHA512:
		const both = "a username and a password"
		user, password := needs(fieldSASLUsername, name, both), needs(fieldSASLPassword, name, both)
		switch name {
		case saslPlain:
			return saslplain.Auth{User: user, Pass: password}.AsMechanism()
		case saslScramSHA256:
			return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
		default:
			return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
		}
	case saslOAuthBearer:
		return oauth.Auth{Token: needs(fieldSASLToken, name, "a token"), Extensions: optional(p, fieldSASLExtensions, p.conf.FieldStringMap)}.AsMechanism()
	case saslAWSMSKIAM:
		if awsMechanism == nil {
			p.fail(fieldSASLMechanism, "is %s, which this binary is built without: it takes kafka-guarded-connect, or the import of github.com/kafka-guarded/kafka-guarded/connect/aws", name)
			return nil
		}
		if p.linting {
			return nil // the constructor might look for credentials in the network
		}
		m, err := awsMechanism(p.conf.Namespace(fieldSASLAWS))
		if err != nil {
			p.fail(fieldSASLAWS, "can't be used: %v", err)
			return nil
		}
		return m
	default:
		p.fail(fieldSASLMechanism, "is %q, it must be one of %s, %s, %s, %s, %s, %s", name, saslPlain, saslScramSHA256, saslScramSHA512, saslOAuthBearer, saslAWSMSKIAM, saslNone)
		return nil
	}
}

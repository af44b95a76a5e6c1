package doctor

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sftoken/sftoken/internal/printable"
)

var callerChecks = []check{
	{"caller", "credentials", nil, (*session).credentials},
	{"caller", "identity", []string{"credentials"}, (*session).identity},
}

const (
	logIn    = "log in to AWS: aws sso login, aws configure, or pass --profile"
	setClock = "set the clock, by NTP: a signature is valid for 5 minutes"
)

// credentials looks for AWS credentials on this machine.
func (s *session) credentials(ctx context.Context) outcome {
	config, err := s.Load(ctx)
	if err != nil {
		return failed("cannot read the AWS configuration: "+shortError(err),
			"correct the file that it names, --profile or AWS_PROFILE")
	}
	s.aws = config
	_, region := s.firstAddress()
	s.region = cmp.Or(region, config.Region)
	if config.Credentials == nil {
		return failed("no AWS credentials found", logIn)
	}
	credentials, err := config.Credentials.Retrieve(ctx)
	if err != nil {
		return failed("no AWS credentials: "+printable.CredentialsError(err), logIn)
	}
	if !credentials.HasKeys() {
		return failed("they are empty", logIn)
	}
	s.temporary = credentials.SessionToken != ""
	found := "access key " + credentials.AccessKeyID
	if credentials.CanExpire {
		found += ", until " + date(credentials.Expires)
	}
	return ok(found)
}

// maxSkew is how far a clock may be off before AWS rejects its signatures. Source: IAM User Guide, "Signature Version 4
// signing elements".
const maxSkew = 5 * time.Minute

// identity asks STS for the caller's ARN, which needs no permission.
func (s *session) identity(ctx context.Context) outcome {
	client := sts.NewFromConfig(s.aws, func(o *sts.Options) { o.Region = cmp.Or(s.region, "us-east-1") })
	out, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return s.identityError(err)
	}
	s.callerARN, s.accountID = aws.ToString(out.Arn), aws.ToString(out.Account)
	// The SDK corrects its own signatures by AWS's clock. Other clients on this machine do not.
	if skew, measured := awsmiddleware.GetAttemptSkew(out.ResultMetadata); measured && skew.Abs() > maxSkew {
		return failed(s.callerARN+", but the clock of this machine is "+formatSkew(skew), setClock)
	}
	return ok(s.callerARN)
}

func (s *session) identityError(err error) outcome {
	text := shortError(err)
	switch errorCode(err) {
	case "":
		return skipped("cannot reach STS: " + text)
	case "InvalidClientTokenId", "UnrecognizedClientException":
		return failed("AWS does not recognize the access key", s.unknownKeyFix())
	case "ExpiredToken", "ExpiredTokenException":
		return failed("the session has expired", logIn)
	case "SignatureDoesNotMatch", "InvalidSignatureException":
		switch {
		case strings.Contains(text, "Signature expired"), strings.Contains(text, "not yet current"):
			return failed("the clock of this machine is wrong: "+text, setClock)
		case strings.Contains(text, "valid region"):
			return failed(text, "set AWS_REGION to the API's region")
		}
		return failed("the secret access key does not belong to the access key", logIn)
	}
	return failed(text, logIn)
}

// unknownKeyFix returns what to do if AWS does not recognize the access key. Source of the rule about opt-in regions:
// IAM User Guide, "Manage AWS STS in an AWS Region".
func (s *session) unknownKeyFix() string {
	fix := "the key was deleted or deactivated, or AWS_SESSION_TOKEN is missing or belongs to another session. "
	if s.temporary {
		fix += "In an opt-in region, which an account must enable, a session from the global STS endpoint is not valid: " +
			"set AWS_STS_REGIONAL_ENDPOINTS=regional. "
	}
	return fix + "Otherwise " + logIn
}

// formatSkew formats by how much the clock of this machine is off; skew is how far the other clock is ahead.
func formatSkew(skew time.Duration) string {
	skew = skew.Round(time.Minute)
	if skew > 0 {
		return span(skew) + " slow"
	}
	return span(-skew) + " fast"
}

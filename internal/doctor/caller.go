package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

var callerChecks = []check{
	{"caller", "credentials", nil, (*session).credentials},
	{"caller", "identity", []string{"credentials"}, (*session).identity},
}

const logIn = "log in to AWS: aws sso login, aws configure, or set AWS_PROFILE"

// credentials looks for AWS credentials on this machine, as the AWS CLI does.
func (v *session) credentials(ctx context.Context) outcome {
	config, err := v.Load(ctx)
	if err != nil {
		return failed("the AWS configuration cannot be read: "+shortError(err), "mend the file that it names, or AWS_PROFILE")
	}
	v.aws = config
	v.region = cmp.Or(sftoken.RegionFromURL(v.URL), config.Region)
	if config.Credentials == nil {
		return failed("there are none", logIn)
	}
	credentials, err := config.Credentials.Retrieve(ctx)
	if err != nil {
		return failed("there are none: "+shortError(err), logIn)
	}
	if !credentials.HasKeys() {
		return failed("they are empty", logIn)
	}
	v.temporary = credentials.SessionToken != ""
	found := "access key " + credentials.AccessKeyID
	if credentials.CanExpire {
		found += ", until " + date(credentials.Expires)
	}
	return ok(found)
}

// maxSkew is how far a clock may be off for a signature to be taken. Source: IAM User Guide, "Signature Version 4 signing
// elements".
const maxSkew = 5 * time.Minute

// identity asks AWS who the caller is, for which nobody needs a permission.
func (v *session) identity(ctx context.Context) outcome {
	client := sts.NewFromConfig(v.aws, func(o *sts.Options) { o.Region = cmp.Or(v.region, "us-east-1") })
	out, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return v.unidentified(err)
	}
	v.callerARN, v.accountID = aws.ToString(out.Arn), aws.ToString(out.Account)
	// The SDK mends its own signatures by AWS's clock. Other clients of this machine do not.
	if skew, measured := awsmiddleware.GetAttemptSkew(out.ResultMetadata); measured && skew.Abs() > maxSkew {
		return failed(v.callerARN+"; the clock of this machine is "+offBy(skew), setClock)
	}
	return ok(v.callerARN)
}

// unidentified says why AWS does not tell who the caller is.
func (v *session) unidentified(err error) outcome {
	said := shortError(err)
	switch code(err) {
	case "":
		return skipped("STS cannot be asked: " + said)
	case "InvalidClientTokenId", "UnrecognizedClientException":
		return failed("AWS does not know the access key", v.unknownKey())
	case "ExpiredToken", "ExpiredTokenException":
		return failed("the session has expired", logIn)
	case "SignatureDoesNotMatch", "InvalidSignatureException":
		switch {
		case strings.Contains(said, "Signature expired"), strings.Contains(said, "not yet current"):
			return failed("the clock of this machine is wrong: "+said, setClock)
		case strings.Contains(said, "valid region"):
			return failed(said, "set AWS_REGION to the API's region")
		}
		return failed("the secret access key does not belong to the access key", logIn)
	}
	return failed(said, logIn)
}

// unknownKey says what to do about a key that AWS does not know. Source: IAM User Guide, "Manage AWS STS in an AWS Region".
func (v *session) unknownKey() string {
	fix := "it was deleted or switched off, or AWS_SESSION_TOKEN is missing or another session's; "
	if v.temporary {
		fix += "in an opt-in region (one that an account must enable) a session of the global endpoint of STS is not valid: get one from a regional endpoint, with AWS_STS_REGIONAL_ENDPOINTS=regional; "
	}
	return fix + logIn
}

const setClock = "set the clock, by NTP: a signature is good for 5 minutes"

// offBy says how far this machine's clock is off, by how far the other is ahead.
func offBy(skew time.Duration) string {
	skew = skew.Round(time.Minute)
	if skew > 0 {
		return span(skew) + " slow"
	}
	return span(-skew) + " fast"
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// role is the caller as a policy names it: a session's ARN has its role's name in it, and what the caller called the session.
func role(arn string) string {
	head, rest, session := strings.Cut(arn, ":assumed-role/")
	if !session {
		return arn
	}
	name, _, _ := strings.Cut(rest, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + name
}

package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var secretChecks = []check{
	{"secret", "secret", []string{"credentials"}, (*session).describe},
	{"secret", "value", []string{"secret"}, (*session).read},
	{"secret", "characters", []string{"value"}, (*session).characters},
	{"secret", "my-domain", []string{"value"}, (*session).myDomain},
	{"secret", "ids", []string{"value"}, (*session).ids},
	{"secret", "principals", []string{"value"}, (*session).principals},
}

func (v *session) secrets() *secretsmanager.Client {
	return secretsmanager.NewFromConfig(v.aws, func(o *secretsmanager.Options) { o.Region = v.region })
}

// describe looks for the secret. A caller may not see it, and need not: who must is the token function.
func (v *session) describe(ctx context.Context) outcome {
	name := v.Prefix + v.App
	if v.region == "" {
		return v.secretUnavailable("no region: set AWS_REGION to the API's", "set AWS_REGION")
	}
	secret, err := appsecret.Open(ctx, v.secrets(), v.Prefix, name)
	switch {
	case appsecret.IsKind(err, appsecret.NotFound):
		return v.secretUnavailable(fmt.Sprintf("account %s has no secret %s in %s", v.accountID, name, v.region),
			"in the API's account: `sftoken secret put "+v.App+"`; if it is there under another name, say --prefix")
	case appsecret.IsKind(err, appsecret.Denied):
		return v.secretUnavailable("you may not see the secret "+name, "give --url, or use an identity that may call secretsmanager:DescribeSecret")
	case err != nil:
		return v.secretUnavailable("Secrets Manager cannot be asked: "+shortError(err), "try again; in a VPC, check its route to Secrets Manager")
	case !secret.Deleted.IsZero():
		v.secret = secret
		return failed(fmt.Sprintf("%s is going to be deleted on %s", name, date(secret.Deleted)), "aws secretsmanager restore-secret --secret-id "+name)
	}
	v.secret = secret
	return ok(fmt.Sprintf("%s in %s, last changed %s", name, v.region, date(changed(secret))))
}

// secretUnavailable is a secret that could not be looked at. Where the API has answered for the app that is no fault of the app's set-up;
// where the API knows no such app it is.
func (v *session) secretUnavailable(why, fix string) outcome {
	if v.answered() || v.denied == nil || v.denied.Code != "unknown_app" {
		return skipped(why)
	}
	return failed(why, fix)
}

// changed is when the secret was last changed, labels included.
func changed(s *appsecret.Secret) time.Time {
	if s.LastChanged.IsZero() {
		return s.Created
	}
	return s.LastChanged
}

// read reads and parses the value that is current.
func (v *session) read(ctx context.Context) outcome {
	put := "store it: `sftoken secret put " + v.App + "`"
	version, err := appsecret.Reader{Client: v.secrets(), Prefix: v.Prefix}.Read(ctx, v.App, appsecret.Current)
	switch {
	case appsecret.IsKind(err, appsecret.Malformed):
		return failed(shortError(err), "look at the stored value, then store every field anew: `sftoken secret put "+v.App+" --replace --file …`. Fields that are not given are dropped, allowedPrincipals and pins among them")
	case appsecret.IsKind(err, appsecret.NotFound):
		return failed("it has no value yet", put)
	case appsecret.IsKind(err, appsecret.Denied) && strings.Contains(err.Error(), "KMS"):
		return skipped("you may not use the key that encrypts it: " + shortError(err))
	case appsecret.IsKind(err, appsecret.Denied):
		return skipped("you may not read it; to have tokens you need not")
	case err != nil:
		return skipped("Secrets Manager cannot be asked: " + shortError(err))
	case version.IsPlaceholder():
		return failed("it still holds the placeholder of the deployment", put)
	}
	v.version, v.value = version, version.Value()
	v.client = version.Client(v.Hosts, v.HTTPClient)
	found := "version " + version.ID
	if !version.Created.IsZero() {
		found += ", " + span(time.Since(version.Created)) + " old"
	}
	return ok(found)
}

// Examine makes the checks that need nothing but the value itself, before it is stored, and returns what is not as it should be.
// The value must be one that appsecret.Parse accepts.
func Examine(value string, hosts sfoauth.AllowedHosts) []Result {
	version, err := appsecret.Parse("", value)
	if err != nil {
		return nil
	}
	v := &session{Config: Config{Hosts: hosts}, version: version, value: sfoauth.NewSecret(value)}
	var odd []Result
	for _, c := range secretChecks {
		switch c.name {
		case "characters", "my-domain", "ids":
			if f := c.run(v, context.Background()); f.status != OK {
				odd = append(odd, Result{Group: c.group, Check: c.name, Status: f.status, Found: f.found, Fix: f.fix})
			}
		}
	}
	return odd
}

// principals looks whether the secret lets the caller have the app's tokens.
func (v *session) principals(context.Context) outcome {
	allowed := v.version.AllowedPrincipals
	switch {
	case v.version.PrincipalsErr != nil:
		return failed(line(v.version.PrincipalsErr.Error())+": every caller is denied", "store a list that can be read: `sftoken secret put "+v.App+" --file …`")
	case allowed == nil:
		return ok("no allowedPrincipals: IAM alone decides")
	case allowed.DenyAll():
		return ok("allowedPrincipals is empty: nobody is to have this app's tokens")
	case v.callerARN == "":
		return blockedBy("identity")
	case !allowed.Allows(v.callerARN):
		return warning(v.callerName()+" is not among allowedPrincipals", "add it, with `sftoken secret put "+v.App+" --file …`, if you are to have this app's tokens")
	}
	return ok(v.callerName() + " is among allowedPrincipals")
}

// labelled reads the version that has the label; nil: there is none that can be read.
func (v *session) labelled(ctx context.Context, label string) *appsecret.Version {
	holder := v.secret.VersionWithLabel(label)
	if holder == "" {
		return nil
	}
	version, err := v.secret.Read(ctx, holder)
	if err != nil {
		return nil
	}
	return version
}

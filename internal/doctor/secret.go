package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

var secretChecks = slices.Concat(
	[]check{
		{"secret", "secret", []string{"credentials"}, (*session).describe},
		{"secret", "value", []string{"secret"}, (*session).read},
	},
	valueChecks,
	[]check{{"secret", "principals", []string{"value"}, (*session).principals}},
)

// valueChecks need nothing but the secret's value.
var valueChecks = []check{
	{"secret", "characters", []string{"value"}, (*session).characters},
	{"secret", "my-domain", []string{"value"}, (*session).myDomain},
	{"secret", "ids", []string{"value"}, (*session).ids},
}

func (s *session) secrets() *secretsmanager.Client {
	return secretsmanager.NewFromConfig(s.aws, func(o *secretsmanager.Options) { o.Region = s.region })
}

// describe looks for the secret. A caller need not be able to see it; the token function must.
func (s *session) describe(ctx context.Context) outcome {
	name := s.Prefix + s.App
	if s.region == "" {
		return s.secretUnavailable("no region: set AWS_REGION to the API's", "set AWS_REGION")
	}
	secret, err := appsecret.Open(ctx, s.secrets(), s.Prefix, name)
	switch {
	case appsecret.IsKind(err, appsecret.NotFound):
		return s.secretUnavailable(fmt.Sprintf("account %s has no secret %s in %s", s.accountID, name, s.region),
			"in the API's account, run `sftoken secret put "+s.App+"`; if the secret has another name, pass --prefix")
	case appsecret.IsKind(err, appsecret.Denied):
		return s.secretUnavailable("you may not see the secret "+name,
			"pass --url, or use an identity that may call secretsmanager:DescribeSecret")
	case err != nil:
		return s.secretUnavailable("cannot read from Secrets Manager: "+shortError(err),
			"try again; in a VPC, check its route to Secrets Manager")
	}
	s.secret = secret
	if !secret.Deleted.IsZero() {
		return failed(fmt.Sprintf("%s is scheduled for deletion on %s", name, date(secret.Deleted)),
			"`aws secretsmanager restore-secret --secret-id "+name+"`")
	}
	return ok(fmt.Sprintf("%s in %s, last changed or checked %s", name, s.region, date(lastChanged(secret))))
}

// secretUnavailable is the outcome if the secret is not readable. This is a fault of the app's setup only if the API,
// too, does not know the app.
func (s *session) secretUnavailable(reason, fix string) outcome {
	if s.denied == nil || s.denied.Code != "unknown_app" {
		return skipped(reason)
	}
	return failed(reason, fix)
}

// lastChanged returns when the secret or one of its labels last changed. The daily check counts, because it tags the
// secret: what has not changed for longer is reported as a day old at most.
func lastChanged(secret *appsecret.Secret) time.Time {
	if secret.LastChanged.IsZero() {
		return secret.Created
	}
	return secret.LastChanged
}

// read reads and parses the current value.
func (s *session) read(ctx context.Context) outcome {
	put := "store it: " + s.command("secret put "+s.App)
	version, err := s.reader().Read(ctx, s.App, appsecret.Current)
	switch {
	case appsecret.IsKind(err, appsecret.Malformed):
		return failed(shortError(err), "look at the stored value, then store every field again: "+
			s.command("secret put "+s.App+" --replace --file …")+". Fields that you do not pass are dropped, "+
			"allowedPrincipals, orgId and userId included")
	case appsecret.IsKind(err, appsecret.NotFound):
		return failed("it has no value yet", put)
	case appsecret.IsKind(err, appsecret.Denied) && strings.Contains(err.Error(), "KMS"):
		return skipped("you may not use the key that encrypts it: " + shortError(err))
	case appsecret.IsKind(err, appsecret.Denied):
		return skipped("you may not read it; callers do not need to")
	case err != nil:
		return skipped("cannot read from Secrets Manager: " + shortError(err))
	case version.IsPlaceholder():
		return failed("it still holds the placeholder of the deployment", put)
	}
	s.version, s.value = version, version.Value()
	s.client = version.Client(s.Hosts, s.HTTPClient)
	found := "version " + version.ID
	if !version.Created.IsZero() {
		found += ", " + span(time.Since(version.Created)) + " old"
	}
	return ok(found)
}

// principals checks whether the secret's allowedPrincipals allows the caller.
func (s *session) principals(context.Context) outcome {
	allowed := s.version.AllowedPrincipals
	put := s.command("secret put " + s.App + " --file …")
	switch {
	case s.version.PrincipalsErr != nil:
		return failed(line(s.version.PrincipalsErr.Error())+", so that every caller is denied", "store a valid list: "+put)
	case allowed == nil:
		return ok("no allowedPrincipals: IAM alone decides")
	case allowed.DenyAll():
		return ok("allowedPrincipals is empty, so that no caller gets this app's tokens")
	case s.callerARN == "":
		return blockedBy("identity")
	case !allowed.Allows(s.callerARN):
		return warning(s.callerName()+" is not in allowedPrincipals", "if you should get this app's tokens, add it: "+put)
	}
	return ok(s.callerName() + " is in allowedPrincipals")
}

// labelled returns the version with the label, or nil if there is none or it cannot be read.
func (s *session) labelled(ctx context.Context, label string) *appsecret.Version {
	id := s.secret.VersionWithLabel(label)
	if id == "" {
		return nil
	}
	version, err := s.secret.Read(ctx, id)
	if err != nil {
		return nil
	}
	return version
}

// Examine runs the checks that need only a secret's value, before it is stored, and returns those that are not OK. The
// value must be one that appsecret.Parse accepts.
func Examine(value string, hosts sfoauth.AllowedHosts) []Result {
	version, err := appsecret.Parse("", value)
	if err != nil {
		return nil
	}
	s := &session{Config: Config{Hosts: hosts}, version: version, value: sfoauth.NewSecret(value)}
	var problems []Result
	for _, c := range valueChecks {
		if result := c.result(c.run(s, context.Background())); result.Status != OK {
			problems = append(problems, result)
		}
	}
	return problems
}

// problems collects what is wrong with a value: what makes it useless, and what only looks odd.
type problems struct{ wrong, odd []string }

// outcome returns the worst of the problems, with the fix for its severity.
func (p problems) outcome(good, fixWrong, fixOdd string) outcome {
	all := strings.Join(append(p.wrong, p.odd...), "; ")
	switch {
	case len(p.wrong) > 0:
		return failed(all, fixWrong)
	case all != "":
		return warning(all, cmp.Or(fixOdd, fixWrong))
	}
	return ok(good)
}

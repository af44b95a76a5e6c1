package doctor

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// refusal explains why API Gateway itself has refused the signed request, from its message.
//
// Source of the messages: AWS re:Post, "How do I troubleshoot signature mismatch errors when making SigV4 signed requests with IAM
// authentication to API Gateway?"; API Gateway Developer Guide, "Gateway response types"; IAM User Guide, "Troubleshoot signed
// requests for AWS APIs".
func (v *session) refusal(message string) outcome {
	says := func(text string) bool { return strings.Contains(message, text) }
	switch {
	case says("not authorized to perform"):
		return v.unauthorized(message)
	case says("Missing Authentication Token"):
		return failed("API Gateway knows no such path, and says so with \"Missing Authentication Token\"", apiURL)
	case message == "Forbidden":
		return noSuchAPI()
	case says("Signature expired"), says("Signature not yet current"):
		return failed("the clock of this machine is "+v.skew(), setClock)
	case says("token included in the request is expired"):
		return failed("the session has expired", logIn)
	case says("token included in the request is invalid"):
		return failed("AWS does not know the access key", v.unknownKey())
	case says("Credential should be scoped to a valid"):
		return failed("the request was signed for "+v.region+", which is not the API's region", "set AWS_REGION to the API's region")
	case says("does not match") && v.callerARN != "":
		return failed("the signature is wrong, though AWS accepts the same key elsewhere",
			"a proxy on the way changes the request (host, path or headers): go round it, or use the API's own address")
	case says("does not match"):
		return failed("the signature is wrong: the secret access key does not belong to the access key", logIn)
	}
	return failed("API Gateway refuses: "+line(message), "see the access log of the API")
}

// skew is how far this machine's clock is off, by the answer that refused it.
func (v *session) skew() string {
	at, err := http.ParseTime(v.header.Get("Date"))
	if err != nil {
		return "wrong"
	}
	return offBy(time.Until(at))
}

// What API Gateway says it is that was not allowed. It hides the owner's account but for the last four digits.
var invoked = regexp.MustCompile(`arn:([a-z-]+):execute-api:([a-z0-9-]+):[*x]*([0-9]*):(\S+)`)

// unauthorized says whose policy must change. In the API's own account an identity policy is enough; another account needs the
// API's resource policy as well. Source: API Gateway Developer Guide, "How API Gateway resource policies affect authorization
// workflow".
func (v *session) unauthorized(message string) outcome {
	found := v.callerName() + " may not GET /tokens/" + v.App
	parts := invoked.FindStringSubmatch(message)
	if parts == nil {
		return failed(found, "allow execute-api:Invoke on this path, and admit your account to the API")
	}
	own := v.accountID != "" && parts[3] != "" && strings.HasSuffix(v.accountID, parts[3])
	owner := "*"
	if own {
		owner = v.accountID
	}
	resource := fmt.Sprintf("arn:%s:execute-api:%s:%s:%s", parts[1], parts[2], owner, parts[4])
	identity := "allow " + v.callerName() + " execute-api:Invoke on " + resource
	if own {
		identity = "attach the policy CallerPolicyArn of the deployment to " + v.callerName() + ", or " + identity
	}
	admit := "the API's owner deploys with account " + cmp.Or(v.accountID, "(yours)") + " among AllowedAccounts, or its OrganizationId"
	switch {
	case strings.Contains(message, "explicit deny"):
		return failed(found+": a policy denies it explicitly",
			"find the Deny: in your role's policies, your organization's service control policies, or the API's resource policy")
	case strings.Contains(message, "no resource-based policy"):
		return failed(found+": the API does not admit your account", admit)
	case strings.Contains(message, "no identity-based policy"), own:
		return failed(found+": no policy of yours allows it", identity)
	}
	return failed(found, "both are needed in another account: "+identity+"; and "+admit)
}

// noSuchAPI is what "Forbidden" alone means, signed or not.
func noSuchAPI() outcome {
	return failed("API Gateway knows no such API or stage: Forbidden", apiURL+"; in a VPC, an endpoint for execute-api with private DNS answers in place of every public API")
}

package doctor

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// gatewayDenial explains why API Gateway rejected the signed request, from its message.
//
// Source of the messages: AWS re:Post, "How do I troubleshoot signature mismatch errors when making SigV4 signed
// requests with IAM authentication to API Gateway?"; API Gateway Developer Guide, "Gateway response types"; IAM User
// Guide, "Troubleshoot signed requests for AWS APIs".
func (s *session) gatewayDenial(message string) outcome {
	contains := func(text string) bool { return strings.Contains(message, text) }
	switch {
	case contains("not authorized to perform"):
		return s.unauthorized(message)
	case contains("Missing Authentication Token"):
		return failed(`API Gateway has no such path, which it reports as "Missing Authentication Token"`, useAPIURL)
	case message == "Forbidden":
		return noSuchAPI()
	case contains("Signature expired"), contains("Signature not yet current"):
		return failed("the clock of this machine is "+s.skew(), setClock)
	case contains("token included in the request is expired"):
		return failed("the session has expired", logIn)
	case contains("token included in the request is invalid"):
		return failed("AWS does not recognize the access key", s.unknownKeyFix())
	case contains("Credential should be scoped to a valid"):
		return failed("the request was signed for "+s.region+", which is not the API's region",
			"set AWS_REGION to the API's region")
	case contains("does not match") && s.callerARN != "":
		return failed("the signature is wrong, though STS accepts the same key",
			"a proxy changes the request's host, path or headers: bypass it, or use the API's own address")
	case contains("does not match"):
		return failed("the signature is wrong: the secret access key does not belong to the access key", logIn)
	}
	return failed("API Gateway rejects the request: "+line(message), "see the API's access log")
}

// skew formats by how much this machine's clock is off, from the time of the API's response.
func (s *session) skew() string {
	at, err := http.ParseTime(s.header.Get("Date"))
	if err != nil {
		return "wrong"
	}
	return formatSkew(time.Until(at))
}

// invokedARN matches the resource in API Gateway's message. All but the last four digits of the account are masked.
var invokedARN = regexp.MustCompile(`arn:([a-z-]+):execute-api:([a-z0-9-]+):[*x]*([0-9]*):(\S+)`)

// unauthorized names the policy that must change. In the API's own account an identity policy is enough; another
// account needs the API's resource policy as well. Source: API Gateway Developer Guide, "How API Gateway resource
// policies affect authorization workflow".
func (s *session) unauthorized(message string) outcome {
	found := s.callerName() + " may not GET /tokens/" + s.App
	parts := invokedARN.FindStringSubmatch(message)
	if parts == nil {
		return failed(found, "allow execute-api:Invoke on this path, and admit your account to the API")
	}
	sameAccount := s.accountID != "" && parts[3] != "" && strings.HasSuffix(s.accountID, parts[3])
	owner := "*"
	if sameAccount {
		owner = s.accountID
	}
	resource := fmt.Sprintf("arn:%s:execute-api:%s:%s:%s", parts[1], parts[2], owner, parts[4])
	identity := "allow " + s.callerName() + " execute-api:Invoke on " + resource
	if sameAccount {
		identity = "attach the deployment's policy CallerPolicyArn to " + s.callerName() + ", or " + identity
	}
	admit := "the API's owner must deploy with account " + cmp.Or(s.accountID, "(yours)") +
		" in AllowedAccounts, or with its OrganizationId"
	switch {
	case strings.Contains(message, "explicit deny"):
		return failed(found+": a policy denies it explicitly",
			"find the Deny in your role's policies, your organization's service control policies or the API's resource policy")
	case strings.Contains(message, "no resource-based policy"):
		return failed(found+": the API does not admit your account", admit)
	case strings.Contains(message, "no identity-based policy"), sameAccount:
		return failed(found+": none of your policies allows it", identity)
	}
	return failed(found, "both are needed in another account: "+identity+"; and "+admit)
}

// noSuchAPI explains the message "Forbidden", which API Gateway sends whether or not a request is signed.
func noSuchAPI() outcome {
	return failed("API Gateway has no such API or stage: Forbidden", useAPIURL+
		". In a VPC, an endpoint for execute-api with private DNS answers in place of every public API")
}

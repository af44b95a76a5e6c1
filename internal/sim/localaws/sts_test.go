package localaws

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// callerIdentityOf calls GetCallerIdentity with the SDK.
func callerIdentityOf(t *testing.T, s *STS, p Principal, region string) (*sts.GetCallerIdentityOutput, error) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client := sts.New(sts.Options{
		Region: region, BaseEndpoint: &server.URL, Retryer: aws.NopRetryer{},
		Credentials: p.Credentials(),
	})
	return client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
}

func TestGetCallerIdentity(t *testing.T) {
	t.Parallel()
	ended := session
	ended.AccessKeyID, ended.Expires = "ASIATESTENDED", time.Now().Add(-time.Minute)
	s := &STS{Keys: NewKeys(billing, session, ended), Region: "us-east-1"}
	for _, p := range []Principal{billing, session} {
		out, err := callerIdentityOf(t, s, p, "us-east-1")
		must(t, err)
		if aws.ToString(out.Arn) != p.ARN || aws.ToString(out.Account) != p.Account || aws.ToString(out.UserId) != p.UserID {
			t.Errorf("%s: got %s in account %s", p.ARN, aws.ToString(out.Arn), aws.ToString(out.Account))
		}
	}
	wrong, unknown := billing, billing
	wrong.SecretAccessKey, unknown.AccessKeyID = "x", "AKIAUNKNOWN"
	for name, c := range map[string]struct {
		as     Principal
		region string
		code   string
	}{
		"the wrong secret":         {wrong, "us-east-1", "SignatureDoesNotMatch"},
		"an unknown key":           {unknown, "us-east-1", "InvalidClientTokenId"},
		"a session that has ended": {ended, "us-east-1", "ExpiredToken"},
		"another region":           {billing, "eu-west-1", "SignatureDoesNotMatch"},
	} {
		_, err := callerIdentityOf(t, s, c.as, c.region)
		if refused, ok := errors.AsType[smithy.APIError](err); !ok || refused.ErrorCode() != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	slow := &STS{Keys: s.Keys, Region: s.Region, Now: func() time.Time { return time.Now().Add(time.Hour) }}
	if _, err := callerIdentityOf(t, slow, billing, "us-east-1"); err == nil ||
		!strings.Contains(err.Error(), "Signature expired") {
		t.Errorf("a clock that is an hour slow: %v", err)
	}
}

func TestSTSOtherRequests(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&STS{Keys: NewKeys(billing), Region: "us-east-1"})
	defer server.Close()
	client := sts.New(sts.Options{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: billing.Credentials(),
	})
	_, err := client.GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	if refused, ok := errors.AsType[smithy.APIError](err); !ok || refused.ErrorCode() != "InvalidAction" {
		t.Errorf("GetSessionToken: %v", err)
	}
	resp, err := http.Post(server.URL, "application/x-www-form-urlencoded",
		strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15"))
	must(t, err)
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusForbidden ||
		!strings.Contains(string(text), "MissingAuthenticationToken") {
		t.Errorf("unsigned: HTTP %d: %s", resp.StatusCode, text)
	}
}

// API Gateway returns the canonical request, including the session token: its messages must not be printed as they are.
func TestGatewayReturnsCanonicalString(t *testing.T) {
	t.Parallel()
	wrong := session
	wrong.SecretAccessKey = "x"
	r, err := http.NewRequestWithContext(t.Context(), "GET", newGateway(t)+"/v1/tokens/crm", nil)
	must(t, err)
	sign(t, r, wrong, "", time.Now())
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "x-amz-security-token:"+session.SessionToken) {
		t.Errorf("HTTP %d: %s", resp.StatusCode, text)
	}
}

package tokenapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
)

// onlyCRM is a Secrets Manager with one secret.
type onlyCRM struct{}

func (onlyCRM) GetSecretValue(
	_ context.Context,
	in *secretsmanager.GetSecretValueInput,
	_ ...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error) {
	if *in.SecretId != simtest.SecretName {
		return nil, &types.ResourceNotFoundException{}
	}
	const value = `{"consumerKey":"k","consumerSecret":"top-secret",` +
		`"baseUri":"https://acme.my.salesforce.com","allowedPrincipals":["222222222222"]}`
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(value), VersionId: aws.String("1")}, nil
}

// granting is a Salesforce that issues a token to every request.
type granting struct{}

func (granting) RoundTrip(*http.Request) (*http.Response, error) {
	const body = `{"access_token":"00Dxx!the-token","token_type":"Bearer","active":true,` +
		`"instance_url":"https://acme.my.salesforce.com",` +
		`"id":"https://acme.my.salesforce.com/id/00Dxx0000000001/005xx0000000001"}`
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(body)),
	}, nil
}

// FuzzRequest takes an event through the whole function. For any event there is one response that API Gateway accepts
// and one line in the log, and only callers that the secret allows get a token, by the path that IAM has authorized.
func FuzzRequest(f *testing.F) {
	for _, name := range []string{"get", "get-rejected", "post", "delete"} {
		event, err := os.ReadFile("../../events/" + name + ".json")
		must(f, err)
		f.Add(event)
		f.Add(bytes.ReplaceAll(event, []byte("erp"), []byte("crm")))
	}
	const event = `{"httpMethod":"METHOD","path":"/tokens/crm","pathParameters":{"app":"crm"},"body":"a\"b\n",` +
		`"requestContext":{"requestId":"r\"\n\u0000","identity":{"userArn":"ARN","userAgent":"AGENT"}}}`
	for _, method := range []string{"GET", "POST", "DELETE", "P\\n"} {
		for _, arn := range []string{
			"", "arn:aws:iam::222222222222:user/x", "arn:aws:iam::333333333333:user/x", "a\\\"\\r\\n\\u2028\xff",
		} {
			for _, agent := range []string{"sftoken-go", strings.Repeat("é\\ud800", 200)} {
				f.Add([]byte(strings.NewReplacer("METHOD", method, "ARN", arn, "AGENT", agent).Replace(event)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var log bytes.Buffer
		h := &handler{log: telemetry.New(&log, 0, "sftoken", "test"), vendor: vending.New(vending.Config{
			Secrets: appsecret.Reader{Client: onlyCRM{}, Prefix: "sftoken/"}, HTTPClient: &http.Client{Transport: granting{}},
		})}
		raw, err := h.Invoke(t.Context(), payload)
		must(t, err)
		var response struct {
			StatusCode int
			Headers    map[string]string
			Body       string
		}
		var body, line map[string]any
		if err := json.Unmarshal(raw, &response); err != nil ||
			!slices.Contains([]int{200, 204, 400, 403, 404, 405}, response.StatusCode) {
			t.Fatalf("%v: %q", err, raw)
		}
		if response.StatusCode != 204 && json.Unmarshal([]byte(response.Body), &body) != nil ||
			response.StatusCode >= 400 && body["error"] == "" {
			t.Errorf("%d with the body %q", response.StatusCode, response.Body)
		}
		for name, value := range response.Headers {
			if strings.ContainsFunc(name+value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("header %q: %q", name, value)
			}
		}
		text := log.String()
		if strings.Count(text, "\n") != 1 || json.Unmarshal([]byte(text), &line) != nil || line["outcome"] == "" {
			t.Errorf("the log holds %q", text)
		}
		if strings.Contains(text, "the-token") || strings.Contains(text, "top-secret") ||
			strings.Contains(response.Body, "top-secret") {
			t.Error("a secret is in the log or in the response")
		}
		caller, _ := line["caller"].(map[string]any)
		arn, _ := caller["arn"].(string)
		if agent, ok := caller["user_agent"].(string); !ok || len(agent) > maxUserAgentField {
			t.Errorf("the user agent is logged as %q", agent)
		}
		if by := line["allowed_by"]; response.StatusCode < 300 && by != "222222222222" ||
			response.StatusCode == 403 && by != nil {
			t.Errorf("%d, allowed by %v", response.StatusCode, by)
		}
		if response.StatusCode < 300 && (line["app"] != "crm" || !strings.Contains(arn, ":222222222222:")) ||
			strings.Contains(string(raw), "the-token") != (response.StatusCode == 200) {
			t.Errorf("%d to %q for app %q", response.StatusCode, arn, line["app"])
		}
	})
}

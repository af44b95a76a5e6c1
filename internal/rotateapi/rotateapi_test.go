package rotateapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	runtime := map[string]string{"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "AWS_REGION": "us-east-1"}
	for setting, ok := range map[string]bool{
		"": true, "PROPAGATION=0s": true, "PROPAGATION=14m": true, "PROPAGATION=15m": false, "PROPAGATION=soon": false,
		"ADMIN_APP=admin": true, "ADMIN_APP=Admin": false, "SALESFORCE_HOSTS=http://x": false, "LOG_LEVEL=loud": false,
		"METRICS_NAMESPACE=a b": false, "SECRET_PREFIX=a b": false, "AWS_LAMBDA_RUNTIME_API=": false,
	} {
		env := maps.Clone(runtime)
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
		_, err := newHandler(t.Context(), func(n string) string { return env[n] }, "test")
		if (err == nil) != ok || err != nil && name != "AWS_LAMBDA_RUNTIME_API" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

func TestPanicIsLogged(t *testing.T) {
	t.Parallel()
	var log localaws.SyncBuffer
	h := &Handler{Log: telemetry.New(&log, 0, "sftoken", "test")} // without a rotator
	_, err := h.Invoke(t.Context(), []byte(
		`{"Step":"createSecret","SecretId":"hush-hush","ClientRequestToken":"x","RotationToken":"hush-hush"}`))
	if err == nil || !strings.Contains(err.Error(), "see its log") {
		t.Errorf("the response is %v", err)
	}
	for _, want := range []string{`"msg":"panic"`, "steps.go", `"RotationFailures":1`} {
		if text := log.String(); !strings.Contains(text, want) || strings.Contains(text, "hush") {
			t.Errorf("no %s, or a value of the event, in the log: %s", want, text)
		}
	}
}

// newTestHandler returns a handler for the harness's secrets, and its log.
func newTestHandler(h *simtest.Harness) (*Handler, *localaws.SyncBuffer) {
	log := &localaws.SyncBuffer{}
	return &Handler{
		Rotator: &rotation.Rotator{
			Secrets: h.Secrets, Lister: h.Secrets, Prefix: simtest.Prefix, Hosts: sfoauth.AllowedHosts{simtest.OrgHost},
			HTTPClient: h.HTTPClient(), Logins: loginbudget.New(0, 0),
		},
		Log: telemetry.New(log, 0, "sftoken", "test"),
	}, log
}

func TestUnknownEvents(t *testing.T) {
	t.Parallel()
	simtest.Run(t, simtest.Options{}, func(t *testing.T, h *simtest.Harness) {
		handler, log := newTestHandler(h)
		const notFound = "ResourceNotFoundException"
		label := `"source":"aws.secretsmanager","detail-type":"Secret Label Updated"`
		for payload, want := range map[string]string{
			`{}`: "an event without fields", `null`: "an event without fields",
			`[]`: "not a JSON object", `x`: "not a JSON object",
			`{"httpMethod":"GET","body":"hush"}`: `"body", "httpMethod"`,
			`{"Step":"createSecret"}`:            `"Step"`,
			`{` + label + `}`:                    "does not name a secret",
			`{"source":"aws.s3","detail-type":"Object Created","detail":{}}`:                            `"source"`,
			`{"Step":"createSecret","SecretId":"other/secret","ClientRequestToken":"x"}`:                notFound,
			`{` + label + `,"detail":{"name":"sftoken/x","labelUpdated":"AWSCURRENT","versionId":"x"}}`: notFound,
		} {
			_, err := handler.Invoke(t.Context(), []byte(payload))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v, want %q", payload, err, want)
				continue
			}
			if line := lastLine(t, log); line["outcome"] != "failed" || line["cause"] != err.Error() {
				t.Errorf("%s: the log has %v", payload, line)
			}
		}
	})
}

func lastLine(t *testing.T, log *localaws.SyncBuffer) map[string]any {
	lines := log.Lines()
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		t.Fatal(err)
	}
	return line
}

func TestEventLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := simtest.New(t, simtest.Options{})
		handler, log := newTestHandler(h)
		ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "request-1"})
		current := h.VersionWithLabel("AWSCURRENT")
		for _, test := range []struct {
			payload string
			want    map[string]any
		}{
			{
				fmt.Sprintf(`{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","time":"soon","resources":[%q],`+
					`"detail":{"name":"other","labelUpdated":"AWSCURRENT","versionId":%q}}`, simtest.SecretName, current),
				map[string]any{
					"msg": "label", "label": "AWSCURRENT", "app": "crm", "secret_version": current, "outcome": "ok",
					"action": "logged in with the current credentials", "Logins": 1.0,
				},
			},
			{
				fmt.Sprintf(`{"Step":"testSecret","SecretId":%q,"ClientRequestToken":%q}`, simtest.SecretName, current),
				map[string]any{
					"msg": "rotation", "step": "testSecret", "app": "crm", "secret_version": current, "outcome": "ok",
					"action": "nothing: the version is AWSCURRENT already",
				},
			},
			{
				`{"detail-type":"Scheduled Event"}`,
				map[string]any{"msg": "checked", "apps": 1.0, "outcome": "ok", "ChecksCompleted": 1.0},
			},
		} {
			response, err := handler.Invoke(ctx, []byte(test.payload))
			if err != nil || string(response) != "null" {
				t.Errorf("%s: %s, %v", test.payload, response, err)
			}
			line := lastLine(t, log)
			test.want["lambda_request_id"] = "request-1"
			for field, want := range test.want {
				if line[field] != want {
					t.Errorf("%s: %s is %v, want %v", test.payload, field, line[field], want)
				}
			}
		}
	})
}

package localaws

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzRequest sends a request to a secret with three versions and an unfinished rotation.
func FuzzRequest(f *testing.F) {
	for operation := range operations {
		f.Add(operation, `{"SecretId":"crm","Name":"crm","SecretString":"x",
			"ClientRequestToken":"00000000-0000-4000-8000-000000000009"}`)
		f.Add(operation, `{"SecretId":"crm","ClientRequestToken":"short","RotateImmediately":false,
			"RotationLambdaARN":"`+lambdaARN+`"}`)
	}
	f.Add("RotateSecret", `{"SecretId":"crm","RotationRules":{"ScheduleExpression":"rate(4 hours)","Duration":"3h"}}`)
	f.Add("ListSecrets", `{"Filters":[{"Key":"name","Values":["c","!x"]}],"MaxResults":1,"NextToken":"1",
		"IncludePlannedDeletion":true}`)
	f.Add("UpdateSecretVersionStage",
		`{"SecretId":"crm","VersionStage":"AWSCURRENT","MoveToVersionId":"`+token2+`","RemoveFromVersionId":"`+token1+`"}`)
	f.Add("PutSecretValue", `{"SecretId":"crm","SecretBinary":"eA==","RotationToken":"x",
		"VersionStages":["A","A","AWSPENDING"]}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		m := NewSecretsManager(SecretsManagerConfig{Account: "111111111111", Region: "us-east-1",
			Functions: map[string]Invoker{
				lambdaARN: func(context.Context, []byte) ([]byte, error) { return nil, context.Canceled },
			}})
		for _, call := range [][2]string{
			{"CreateSecret", `{"Name":"crm","SecretString":"one","ClientRequestToken":"` + token1 + `"}`},
			{"PutSecretValue", `{"SecretId":"crm","SecretString":"two","ClientRequestToken":"` + token2 +
				`","VersionStages":["CANDIDATE"]}`},
			{"RotateSecret", `{"SecretId":"crm","ClientRequestToken":"` + token3 + `","RotationLambdaARN":"` + lambdaARN + `"}`},
			{operation, body},
		} {
			r := httptest.NewRequest("POST", "/", strings.NewReader(call[1]))
			r.Header["X-Amz-Target"] = []string{"secretsmanager." + call[0]}
			w := httptest.NewRecorder()
			m.ServeHTTP(w, r)
			var response map[string]any
			err := json.Unmarshal(w.Body.Bytes(), &response)
			if err != nil || w.Code != 200 &&
				(response["__type"] == nil || response["__type"] != w.Header().Get("X-Amzn-Errortype")) {
				t.Errorf("HTTP %d: %s", w.Code, w.Body)
			}
		}
		if s := m.secrets["crm"]; s != nil && s.withLabel(current) == nil {
			t.Error("no version is AWSCURRENT")
		}
	})
}

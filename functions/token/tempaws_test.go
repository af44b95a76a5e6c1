package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

type tempAWS struct {
	mu     sync.Mutex
	values map[string]string
	labels map[string]string // label -> version
	calls  map[string]int
	n      int
	fail   func(w http.ResponseWriter) bool
}

func newTempAWS() *tempAWS {
	return &tempAWS{values: map[string]string{}, labels: map[string]string{}, calls: map[string]int{}}
}

func (a *tempAWS) Calls() map[string]int { a.mu.Lock(); defer a.mu.Unlock(); return a.calls }

func (a *tempAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name, SecretId, SecretString, VersionStage, VersionId, MoveToVersionId, RemoveFromVersionId string
		VersionStages                                                                               []string
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	a.mu.Lock()
	defer a.mu.Unlock()
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	a.calls[op]++
	if a.fail != nil && a.fail(w) {
		return
	}
	out := map[string]any{}
	switch op {
	case "CreateSecret", "PutSecretValue":
		a.n++
		id := fmt.Sprintf("00000000-0000-0000-0000-%012d", a.n)
		a.values[id] = in.SecretString
		if in.VersionStages == nil {
			in.VersionStages = []string{"AWSCURRENT"}
		}
		for _, l := range in.VersionStages {
			if l == "AWSCURRENT" {
				a.labels["AWSPREVIOUS"] = a.labels[l]
			}
			a.labels[l] = id
		}
		out["VersionId"] = id
	case "GetSecretValue":
		if in.VersionStage == "" {
			in.VersionStage = "AWSCURRENT"
		}
		id := a.labels[in.VersionStage]
		if id == "" || in.SecretId != secretName {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"__type":"ResourceNotFoundException","message":"no"}`))
			return
		}
		out["VersionId"], out["SecretString"], out["CreatedDate"] = id, a.values[id], 1.7e9
	case "UpdateSecretVersionStage":
		a.labels[in.VersionStage] = in.MoveToVersionId
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

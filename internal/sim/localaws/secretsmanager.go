package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// SecretsManagerConfig is what a SecretsManager is made with.
type SecretsManagerConfig struct {
	Account string // owner of the secrets, 12 digits
	Region  string
	// Now tells the time. Nil: time.Now.
	Now func() time.Time
	// Authenticate refuses a request whose signature is wrong. Nil: every request is let in.
	Authenticate func(r *http.Request, body []byte) error
	// Functions are the rotation functions, by ARN.
	Functions map[string]Invoker
	// LabelMoved is told of each "Secret Label Updated" event, after the call that raised it has taken effect. Nil: nobody is.
	LabelMoved func(LabelMoved)
	// OnCall is called twice for each request: when it has arrived, and when it has taken effect and nothing has been
	// answered yet. It may block, for a test that ends a client there. Nil: none.
	OnCall func(Call)
	// Retries is how often a failed rotation is tried again, with the same token. Zero: not at all. AWS documents neither their
	// number nor the time between them.
	Retries int
	// RetryPause is waited before each of them. Zero: not at all.
	RetryPause time.Duration
	// Background runs a rotation in a goroutine that its owner waits for, while RotateSecret answers, as AWS does. Nil: the
	// rotation is over when RotateSecret answers.
	Background func(rotation func(context.Context))
	// DropUnlabelled drops a version as soon as it has no label, which AWS may do at any time. False: only those beyond the limit go.
	DropUnlabelled bool
}

// Invoker calls a Lambda function synchronously.
type Invoker func(ctx context.Context, payload []byte) ([]byte, error)

// Phase is how far a request has come.
type Phase string

const (
	Arrived Phase = "arrived" // nothing has been done
	Done    Phase = "done"    // it has been done or refused; nothing has been answered
)

// Call is one request on its way.
type Call struct {
	Operation string // GetSecretValue, …
	Phase     Phase
}

// SecretsManager is AWS Secrets Manager as the SDKs see it: an http.Handler that speaks its JSON protocol and keeps its rules
// about versions and labels. Where emulators differ from AWS's documentation, it follows the documentation: above all,
// PutSecretValue refuses another value under a token that exists, which crash safety rests on. It is safe for concurrent
// use, and starts no goroutine that outlives a call.
//
// Source: AWS Secrets Manager API Reference; User Guide, "Rotate AWS Secrets Manager secrets".
type SecretsManager struct {
	config SecretsManagerConfig

	mu       sync.Mutex
	secrets  map[string]*secret // by name
	nameUses map[string]int     // how often each name was
	calls    map[string]int
	faults   map[string][]pendingFault
	events   []LabelMoved // by the call under way
}

// NewSecretsManager returns one without secrets.
func NewSecretsManager(config SecretsManagerConfig) *SecretsManager {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &SecretsManager{config: config, secrets: map[string]*secret{}, nameUses: map[string]int{}, calls: map[string]int{}, faults: map[string][]pendingFault{}}
}

// Calls returns how often each operation was called.
func (m *SecretsManager) Calls() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.calls)
}

// apiError is an error as the service answers it.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func apiErr(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// maxRequest bounds a request's body, in bytes: the largest value with every character escaped, and what goes around it.
const maxRequest = 1 << 20

// ServeHTTP answers one request.
func (m *SecretsManager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		writeResult(w, nil, apiErr("SerializationException", "the request is too long"))
		return
	}
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if r.Method != http.MethodPost || !ok {
		writeResult(w, nil, apiErr("UnknownOperationException", "want a POST with an X-Amz-Target"))
		return
	}
	if m.config.Authenticate != nil {
		if err := m.config.Authenticate(r, body); err != nil {
			writeResult(w, nil, signatureError(err))
			return
		}
	}
	m.onCall(Call{operation, Arrived})
	f := m.nextFault(operation, body)
	if !f.apply(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		reset(w)
		return
	}
	if f.Code != "" {
		writeResult(w, nil, &apiError{max(f.Status, http.StatusBadRequest), f.Code, "as the test has asked for"})
		return
	}
	answer, header, err := m.call(r.Context(), operation, body)
	maps.Copy(w.Header(), header)
	m.onCall(Call{operation, Done})
	switch {
	case f.ResetAfterCommit:
		panic(http.ErrAbortHandler)
	case f.BodyOnly:
		writeBodyOnly(w, answer)
	default:
		writeResult(w, answer, err)
	}
}

func (m *SecretsManager) onCall(c Call) {
	if m.config.OnCall != nil {
		m.config.OnCall(c)
	}
}

// call does what is asked, and tells of the labels that it has moved. The header goes with either answer.
func (m *SecretsManager) call(ctx context.Context, operation string, body []byte) (answer any, header http.Header, err error) {
	handle, ok := operations[operation]
	if !ok {
		return nil, nil, apiErr("UnknownOperationException", "%q", operation)
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, nil, apiErr("SerializationException", "the body is not what %s takes", operation)
	}
	m.mu.Lock()
	m.deleteExpired()
	answer, err = handle(m, &in)
	moved := m.events
	m.events = nil
	m.mu.Unlock()
	m.publish(moved)
	if rotation, ok := answer.(*rotation); ok && err == nil {
		return m.start(ctx, rotation)
	}
	return answer, nil, err
}

func (m *SecretsManager) publish(moved []LabelMoved) {
	if m.config.LabelMoved == nil {
		return
	}
	for _, event := range moved {
		m.config.LabelMoved(event)
	}
}

// signatureError answers what Authenticate has refused.
func signatureError(err error) error {
	if failed, ok := errors.AsType[*AuthError](err); ok {
		return apiErr(failed.Type+"Exception", "%s", failed.Message)
	}
	return apiErr("UnrecognizedClientException", "%v", err)
}

func writeResult(w http.ResponseWriter, answer any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", newUUID())
	if err == nil {
		_ = json.NewEncoder(w).Encode(answer)
		return
	}
	failed, ok := errors.AsType[*apiError](err)
	if !ok {
		failed = &apiError{http.StatusInternalServerError, "InternalServiceError", err.Error()}
	}
	w.Header().Set("X-Amzn-Errortype", failed.code)
	w.WriteHeader(failed.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": failed.code, "message": failed.message})
}

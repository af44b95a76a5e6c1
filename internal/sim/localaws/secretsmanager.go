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

// SecretsManagerConfig configures a SecretsManager.
type SecretsManagerConfig struct {
	Account string // owner of the secrets, 12 digits
	Region  string
	// Now returns the time. Nil: time.Now.
	Now func() time.Time
	// Authenticate returns an error, such as an *AuthError, to deny a request. Nil: all are allowed.
	Authenticate func(r *http.Request, body []byte) error
	// Functions are the rotation functions, by ARN.
	Functions map[string]Invoker
	// LabelMoved is called for each "Secret Label Updated" event, after the request that caused it. Nil: no call.
	LabelMoved func(LabelMoved)
	// OnCall is called twice for each request: on arrival, and before the response. It may block, so that a test can
	// stop a client there. Nil: no call.
	OnCall func(Call)
	// Replication connects the regions of an account. Nil: there is one.
	Replication *Replication
	// Retries is how often a failed rotation is retried with the same token. Zero: never. AWS documents neither the number
	// nor the delay.
	Retries int
	// Background runs a rotation in a goroutine, so that RotateSecret returns at once, as in AWS. Nil: RotateSecret
	// returns after the rotation.
	Background func(rotation func(context.Context))
}

// Invoker calls a Lambda function synchronously.
type Invoker func(ctx context.Context, payload []byte) ([]byte, error)

// Phase is the progress of a request.
type Phase string

const (
	Arrived Phase = "arrived" // nothing has been done
	Done    Phase = "done"    // it has succeeded or failed, and has no response yet
)

// Call is a request in progress.
type Call struct {
	Operation string // GetSecretValue, …
	Phase     Phase
}

// SecretsManager is an http.Handler for the API of AWS Secrets Manager, with its rules for versions and labels. Where
// emulators differ from AWS's documentation, it follows the documentation: above all, PutSecretValue rejects another
// value under an existing token, which makes rotation crash-safe. It is safe for concurrent use.
//
// Source: AWS Secrets Manager API Reference; User Guide, "Rotate AWS Secrets Manager secrets".
type SecretsManager struct {
	config SecretsManagerConfig

	mu       sync.Mutex
	secrets  map[string]*secret // by name
	nameUses map[string]int     // how many secrets each name has had
	calls    map[string]int
	faults   faultQueues[Fault]
	events   []LabelMoved  // of the current request
	lost     chan struct{} // closed when the region returns; nil: it is available
	hangs    bool          // requests hang while it is lost
}

// NewSecretsManager returns a SecretsManager without secrets.
func NewSecretsManager(config SecretsManagerConfig) *SecretsManager {
	if config.Now == nil {
		config.Now = time.Now
	}
	m := &SecretsManager{config: config, secrets: map[string]*secret{}, nameUses: map[string]int{},
		calls: map[string]int{}, faults: faultQueues[Fault]{}}
	if config.Replication != nil {
		config.Replication.join(m)
	}
	return m
}

// Calls returns the number of requests by operation.
func (m *SecretsManager) Calls() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.calls)
}

// apiError is an error response of the service.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func apiErr(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// maxRequest limits a request body, in bytes: the largest value with every character escaped, and the rest.
const maxRequest = 1 << 20

// ServeHTTP implements http.Handler.
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
	m.failIfLost(r.Context())
	f := m.nextFault(operation, body)
	if !f.apply(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if f.Reset {
		reset(w)
		return
	}
	if f.Code != "" {
		writeResult(w, nil, &apiError{max(f.Status, http.StatusBadRequest), f.Code, "injected fault"})
		return
	}
	result, header, err := m.call(r.Context(), operation, body)
	maps.Copy(w.Header(), header)
	m.onCall(Call{operation, Done})
	m.failIfLost(r.Context())
	switch {
	case f.ResetAfterCommit:
		panic(http.ErrAbortHandler)
	case f.BodyOnly:
		writeBodyOnly(w, result)
	default:
		writeResult(w, result, err)
	}
}

func (m *SecretsManager) onCall(c Call) {
	if m.config.OnCall != nil {
		m.config.OnCall(c)
	}
}

// call processes a request, and publishes its events. The header is for success and failure.
func (m *SecretsManager) call(ctx context.Context, operation string, body []byte) (result any, header http.Header,
	err error) {
	handle, ok := operations[operation]
	if !ok {
		return nil, nil, apiErr("UnknownOperationException", "%q", operation)
	}
	var in input
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, nil, apiErr("SerializationException", "the body is not valid for %s", operation)
	}
	m.config.Replication.settle()
	m.mu.Lock()
	m.deleteExpired()
	result, err = handle(m, &in)
	moved := m.events
	m.events = nil
	m.replicate()
	m.mu.Unlock()
	m.publish(moved)
	m.config.Replication.settle()
	if rotation, ok := result.(*rotation); ok && err == nil {
		return m.start(ctx, rotation)
	}
	return result, nil, err
}

func (m *SecretsManager) publish(moved []LabelMoved) {
	if m.config.LabelMoved == nil {
		return
	}
	for _, event := range moved {
		m.config.LabelMoved(event)
	}
}

// AccessDenied is an error for Authenticate: no policy allows the principal to make the request.
func AccessDenied(p Principal, r *http.Request) error {
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if service == dynamoDBTarget {
		service = "dynamodb"
	}
	return &AuthError{"AccessDenied", "User: " + p.ARN + " is not authorized to perform: " + service + ":" + operation}
}

// signatureError is the response to a request that Authenticate denies.
func signatureError(err error) error {
	if failed, ok := errors.AsType[*AuthError](err); ok {
		return apiErr(failed.Type+"Exception", "%s", failed.Message)
	}
	return apiErr("UnrecognizedClientException", "%v", err)
}

func writeResult(w http.ResponseWriter, result any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", newUUID())
	if err == nil {
		_ = json.NewEncoder(w).Encode(result)
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

package localaws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// environment is one process of a function, with its Runtime API.
type environment struct {
	config  *FunctionConfig
	cmd     *exec.Cmd
	server  *http.Server
	permits atomic.Int64 // how many more invocations the process may take, in Function.idle or under way
	readyAt time.Time

	ready   chan struct{} // closed at the first request for an event
	once    sync.Once
	next    chan *invocation
	done    chan struct{} // closed when the process has exited
	exitErr error         // set once done is closed

	mu      sync.Mutex
	pending map[string]*invocation
	initErr *FunctionError // that the process has reported
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	result   chan result
}

type result struct {
	response []byte
	err      error
}

// startEnvironment starts a process and waits until it requests an event.
func startEnvironment(ctx context.Context, config *FunctionConfig) (*environment, error) {
	program := config.Binary
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &environment{
		config: config, ready: make(chan struct{}), next: make(chan *invocation), done: make(chan struct{}),
		pending: map[string]*invocation{},
	}
	e.server = &http.Server{Handler: e.runtimeAPI(), ReadHeaderTimeout: initTimeout}
	go func() { _ = e.server.Serve(listener) }()
	e.cmd = exec.Command(program)
	e.cmd.Dir = filepath.Dir(program)
	e.cmd.Env = e.variables(listener.Addr().String())
	e.cmd.Stdout, e.cmd.Stderr = config.Stdout, config.Stderr
	if err := e.cmd.Start(); err != nil {
		_ = e.server.Close()
		return nil, fmt.Errorf("starting %s: %w", config.Name, err)
	}
	go e.wait()
	timer := time.NewTimer(initTimeout)
	defer timer.Stop()
	select {
	case <-e.ready:
		return e, nil
	case <-e.done:
		return nil, e.initFailure()
	case <-timer.C:
		err = &FunctionError{initError, fmt.Sprintf("%s did not request an event within %s", config.Name, initTimeout)}
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.kill()
	return nil, err
}

func (e *environment) initFailure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.initErr != nil {
		return e.initErr
	}
	return &FunctionError{exitError, fmt.Sprintf("%s exited before it requested an event: %v", e.config.Name, e.exitErr)}
}

func (e *environment) wait() {
	e.exitErr = e.cmd.Wait()
	close(e.done)
	_ = e.server.Close()
}

func (e *environment) exited() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// kill ends the process and waits until it has exited.
func (e *environment) kill() {
	_ = e.cmd.Process.Kill()
	<-e.done
}

// variables returns the environment that Lambda gives a function. Source: Lambda Developer Guide, "Defined runtime
// environment variables".
func (e *environment) variables(api string) []string {
	c, credentials := e.config, e.config.Credentials
	if credentials.AccessKeyID == "" {
		credentials = Principal{
			AccessKeyID: "ASIALOCALEXECUTION", SecretAccessKey: "local-execution-only", SessionToken: "local-session",
		}
	}
	stream := time.Now().UTC().Format("2006/01/02/") + "[$LATEST]" + strings.ReplaceAll(newUUID(), "-", "")
	variables := map[string]string{
		"AWS_LAMBDA_RUNTIME_API": api, "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		"AWS_LAMBDA_FUNCTION_NAME": c.Name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + c.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME": stream, "AWS_EXECUTION_ENV": "AWS_Lambda_Image",
		"AWS_REGION": c.Region, "AWS_DEFAULT_REGION": c.Region,
		"AWS_ACCESS_KEY_ID": credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY": credentials.SecretAccessKey,
		"_HANDLER": "bootstrap", "LAMBDA_TASK_ROOT": e.cmd.Dir, "LAMBDA_RUNTIME_DIR": "/var/runtime",
		"TZ": ":UTC", "LANG": "en_US.UTF-8", "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
	}
	if credentials.SessionToken != "" {
		variables["AWS_SESSION_TOKEN"] = credentials.SessionToken
	}
	if c.PerProcess > 1 {
		variables["AWS_LAMBDA_MAX_CONCURRENCY"] = strconv.Itoa(c.PerProcess)
	}
	maps.Copy(variables, c.Env)
	if c.Binary == "" {
		variables[bootstrapVar] = c.Main + "@" + api
	}
	list := make([]string, 0, len(variables))
	for name, value := range variables {
		list = append(list, name+"="+value)
	}
	return list
}

// runtimeAPI handles the requests of the process.
func (e *environment) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		e.complete(w, r, result{body, err})
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		e.complete(w, r, result{err: readError(r)})
	})
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		failed := readError(r)
		e.mu.Lock()
		e.initErr = failed
		e.mu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

func (e *environment) serveNext(w http.ResponseWriter, r *http.Request) {
	e.once.Do(func() {
		e.readyAt = time.Now()
		close(e.ready)
	})
	select {
	case <-r.Context().Done():
	case inv := <-e.next:
		header := w.Header()
		header["Content-Type"] = []string{"application/json"}
		header["Lambda-Runtime-Aws-Request-Id"] = []string{inv.id}
		header["Lambda-Runtime-Deadline-Ms"] = []string{strconv.FormatInt(inv.deadline.UnixMilli(), 10)}
		header["Lambda-Runtime-Invoked-Function-Arn"] = []string{e.config.arn()}
		header["Lambda-Runtime-Trace-Id"] = []string{"Root=1-" + inv.id[:8] + "-" +
			strings.ReplaceAll(inv.id[9:], "-", "")[:24] + ";Sampled=0"}
		_, _ = w.Write(inv.payload)
	}
}

func (e *environment) complete(w http.ResponseWriter, r *http.Request, res result) {
	e.mu.Lock()
	inv := e.pending[r.PathValue("id")]
	delete(e.pending, r.PathValue("id"))
	e.mu.Unlock()
	if inv == nil {
		http.Error(w, `{"errorType":"InvalidRequestID"}`, http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	inv.result <- res
}

func readError(r *http.Request) *FunctionError {
	var a struct{ ErrorType, ErrorMessage string }
	_ = json.NewDecoder(r.Body).Decode(&a) // without a valid body, the header has the type
	if a.ErrorType == "" {
		a.ErrorType = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	return &FunctionError{a.ErrorType, a.ErrorMessage}
}

// invoke hands the process one event and waits for its response. A process that takes too long is killed.
func (e *environment) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	inv := &invocation{id: newUUID(), payload: payload, deadline: time.Now().Add(e.config.Timeout),
		result: make(chan result, 1)}
	e.mu.Lock()
	e.pending[inv.id] = inv
	e.mu.Unlock()
	timer := time.NewTimer(e.config.Timeout)
	defer timer.Stop()
	next := e.next
	for {
		select {
		case next <- inv:
			next = nil
		case res := <-inv.result:
			return res.response, res.err
		case <-e.done:
			return nil, &FunctionError{exitError, fmt.Sprintf("RequestId: %s Error: Runtime exited with error: %v", inv.id,
				e.exitErr)}
		case <-timer.C:
			e.kill()
			return nil, &FunctionError{timedOut, fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id,
				e.config.Timeout.Seconds())}
		case <-ctx.Done():
			e.kill() // the next invocation must not find it busy with this one
			return nil, ctx.Err()
		}
	}
}

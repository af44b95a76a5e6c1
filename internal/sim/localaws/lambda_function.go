package localaws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// FunctionConfig configures a Lambda function.
type FunctionConfig struct {
	Name string
	// Binary is the bootstrap executable. Empty: this program, as one of the functions that it gave to RunFunction.
	Binary  string
	Main    string // the name of that function
	Account string
	Region  string
	// Env are the function's own variables. The process gets them and those that Lambda sets, and no others of this
	// machine.
	Env map[string]string
	// Credentials of the execution role. Without an AccessKeyID: fake ones.
	Credentials Principal
	Timeout     time.Duration // zero: 15 seconds
	// Environments is how many processes may run at once. Zero: 1.
	Environments int
	// PerProcess is how many invocations a process takes at once (AWS_LAMBDA_MAX_CONCURRENCY). Zero: 1, as on Lambda.
	PerProcess     int
	Stdout, Stderr io.Writer // nil: discarded
}

// Function is a Lambda function. It starts processes on demand, talks to them through the Lambda Runtime API, and
// keeps them for later invocations. It is safe for concurrent use. Close it after use.
//
// Source: Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes" and "Understanding the Lambda
// execution environment lifecycle".
type Function struct {
	config   FunctionConfig
	idle     chan *environment // processes that can take an invocation, once for each that they can take
	capacity chan struct{}     // an entry for each process that may still be started

	mu     sync.Mutex
	alive  map[*environment]bool
	closed bool
}

// FunctionError is an invocation that failed, as Lambda reports it.
type FunctionError struct {
	Type    string // the error's Go type, or Runtime.ExitError, Sandbox.Timedout, …
	Message string
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

const (
	timedOut    = "Sandbox.Timedout"
	exitError   = "Runtime.ExitError"
	initError   = "Runtime.InitError"
	initTimeout = 10 * time.Second
)

// NewFunction returns a function without processes.
func NewFunction(config FunctionConfig) *Function {
	if config.Timeout == 0 {
		config.Timeout = 15 * time.Second
	}
	config.Environments, config.PerProcess = max(config.Environments, 1), max(config.PerProcess, 1)
	f := &Function{
		config: config, idle: make(chan *environment, config.Environments*config.PerProcess),
		capacity: make(chan struct{}, config.Environments), alive: map[*environment]bool{},
	}
	for range config.Environments {
		f.capacity <- struct{}{}
	}
	return f
}

// ARN returns the function's ARN.
func (f *Function) ARN() string { return f.config.arn() }

func (c *FunctionConfig) arn() string {
	return fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", c.Region, c.Account, c.Name)
}

// Invoke sends payload to the function and returns its response, or a *FunctionError. It waits while all processes are
// busy. When ctx ends, so does the invocation.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	e, err := f.acquire(ctx)
	if err != nil {
		return nil, err
	}
	response, err := e.invoke(ctx, payload)
	f.idle <- e
	return response, err
}

// Start starts another process, once the limit allows it, and returns the time until it requested its first event.
func (f *Function) Start(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	select {
	case <-f.capacity:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	e, err := f.launch(ctx)
	if err != nil {
		return 0, err
	}
	took := e.readyAt.Sub(start)
	f.idle <- e
	return took, nil
}

// acquire returns a running process or, if all are busy, a new one, as Lambda does.
func (f *Function) acquire(ctx context.Context) (*environment, error) {
	for {
		select {
		case e := <-f.idle:
			if f.usable(e) {
				return e, nil
			}
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.capacity:
			return f.launch(ctx)
		case e := <-f.idle:
			if f.usable(e) {
				return e, nil
			}
		}
	}
}

// usable reports whether the process runs. The last permit of one that has exited allows a new one.
func (f *Function) usable(e *environment) bool {
	if !e.exited() {
		return true
	}
	if e.permits.Add(-1) == 0 {
		f.mu.Lock()
		delete(f.alive, e)
		f.mu.Unlock()
		f.capacity <- struct{}{}
	}
	return false
}

func (f *Function) launch(ctx context.Context) (*environment, error) {
	e, err := startEnvironment(ctx, &f.config)
	f.mu.Lock()
	if err == nil && f.closed {
		err = errors.New("the function is closed")
		e.kill()
	}
	if err == nil {
		f.alive[e] = true
	}
	f.mu.Unlock()
	if err != nil {
		f.capacity <- struct{}{}
		return nil, err
	}
	e.permits.Store(int64(f.config.PerProcess))
	for range f.config.PerProcess - 1 {
		f.idle <- e
	}
	return e, nil
}

// Kill ends all processes, as kill -9 does. The next invocation starts another.
func (f *Function) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range f.alive {
		e.kill()
	}
}

// Close ends all processes. The function starts no more.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.Kill()
}

// PIDs returns the IDs of the running processes.
func (f *Function) PIDs() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pids []int
	for e := range f.alive {
		if !e.exited() {
			pids = append(pids, e.cmd.Process.Pid)
		}
	}
	return pids
}

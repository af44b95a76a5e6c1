package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// TestMain lets tests run this program as a function.
func TestMain(m *testing.M) {
	RunFunction(map[string]func() error{"echo": echo})
	os.Exit(m.Run())
}

// echo is a function whose event determines what it does.
func echo() error {
	if os.Getenv("FAIL_AT_START") != "" {
		os.Exit(3)
	}
	calls := 0
	lambda.Start(func(ctx context.Context, in struct {
		Do string
		MS int
	}) (any, error) {
		calls++
		switch in.Do {
		case "fail":
			return nil, errors.New("injected")
		case "exit":
			os.Exit(1)
		case "sleep":
			time.Sleep(time.Duration(in.MS) * time.Millisecond)
		case "environment":
			return os.Environ(), nil
		}
		deadline, _ := ctx.Deadline()
		return map[string]any{"pid": os.Getpid(), "calls": calls, "left": time.Until(deadline).Seconds()}, nil
	})
	return nil
}

func TestRunFunctionNeedsTheAddressOfItsRuntimeAPI(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		simulated, api string
		name           string
		ok             bool
	}{
		{"token@127.0.0.1:1234", "127.0.0.1:1234", "token", true},
		{"", "127.0.0.1:9001", "", false}, // a real Lambda function
		{"token@127.0.0.1:1234", "127.0.0.1:9001", "token", false},
		{"token@127.0.0.1:1234", "", "token", false},
		{"token@", "", "token", false},
		{"token", "127.0.0.1:9001", "token", false},
		{"@127.0.0.1:9001", "127.0.0.1:9001", "", false},
	} {
		variables := map[string]string{bootstrapVar: c.simulated, "AWS_LAMBDA_RUNTIME_API": c.api}
		if name, ok := functionName(func(name string) string { return variables[name] }); name != c.name || ok != c.ok {
			t.Errorf("%v: %q, %v", variables, name, ok)
		}
	}
}

func newEcho(t *testing.T, config FunctionConfig) *Function {
	t.Helper()
	config.Name, config.Account, config.Region, config.Main = "echo", "111111111111", "us-east-1", "echo"
	f := NewFunction(config)
	t.Cleanup(f.Close)
	return f
}

func ask(t *testing.T, f *Function, event string) (map[string]float64, error) {
	t.Helper()
	response, err := f.Invoke(t.Context(), []byte(event))
	if err != nil {
		return nil, err
	}
	var fields map[string]float64
	if err := json.Unmarshal(response, &fields); err != nil {
		t.Fatalf("%s: %v", response, err)
	}
	return fields, nil
}

func TestFunctionProcessReuse(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/nowhere")
	t.Setenv("SFTOKEN_LEAK", "of this machine")
	f := newEcho(t, FunctionConfig{})
	for i := range 100 {
		got, err := ask(t, f, `{}`)
		if err != nil || got["calls"] != float64(i+1) || got["left"] < 10 || got["left"] > 15 {
			t.Fatalf("invocation %d: %v, %v", i, got, err)
		}
	}
	if len(f.PIDs()) != 1 {
		t.Errorf("processes %v", f.PIDs())
	}
	environment, err := f.Invoke(t.Context(), []byte(`{"Do":"environment"}`))
	if err != nil || strings.Contains(string(environment), "AWS_CA_BUNDLE") ||
		strings.Contains(string(environment), "SFTOKEN_LEAK") ||
		!strings.Contains(string(environment), "AWS_LAMBDA_FUNCTION_NAME=echo") ||
		!strings.Contains(string(environment), "[$LATEST]") {
		t.Errorf("the environment: %s, %v", environment, err)
	}
}

func TestFunctionFailures(t *testing.T) {
	t.Parallel()
	f := newEcho(t, FunctionConfig{Timeout: 2 * time.Second})
	fails := func(event, kind string) {
		t.Helper()
		_, err := ask(t, f, event)
		if failed, ok := errors.AsType[*FunctionError](err); !ok || failed.Type != kind {
			t.Errorf("%s: %v, want %s", event, err, kind)
		}
	}
	first, err := ask(t, f, `{}`)
	must(t, err)
	fails(`{"Do":"fail"}`, "errorString")
	if again, err := ask(t, f, `{}`); err != nil || again["pid"] != first["pid"] {
		t.Errorf("an error ends the process: %v, %v", again, err)
	}
	fails(`{"Do":"exit"}`, exitError)
	second, err := ask(t, f, `{}`)
	if err != nil || second["pid"] == first["pid"] {
		t.Errorf("after an exit: %v, %v", second, err)
	}
	fails(`{"Do":"sleep","MS":60000}`, timedOut)
	third, err := ask(t, f, `{}`)
	if err != nil || third["pid"] == second["pid"] {
		t.Errorf("after a time-out: %v, %v", third, err)
	}
	f.Kill()
	if fourth, err := ask(t, f, `{}`); err != nil || fourth["pid"] == third["pid"] {
		t.Errorf("after a kill: %v, %v", fourth, err)
	}
	broken := newEcho(t, FunctionConfig{Env: map[string]string{"FAIL_AT_START": "1"}})
	for range 2 {
		if _, err := ask(t, broken, `{}`); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("a function that ends at its start: %v", err)
		}
	}
}

func TestFunctionConcurrency(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]FunctionConfig{
		"processes": {Environments: 3}, "in one process": {PerProcess: 3}, "one at a time": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEcho(t, config)
			var wg sync.WaitGroup
			var mu sync.Mutex
			pids := map[string]bool{}
			for range 30 {
				wg.Go(func() {
					got, err := ask(t, f, `{"Do":"sleep","MS":20}`)
					mu.Lock()
					defer mu.Unlock()
					pids[fmt.Sprint(got["pid"])] = true
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(pids) > max(config.Environments, 1) || len(f.PIDs()) != len(pids) {
				t.Errorf("processes %v", pids)
			}
		})
	}
}

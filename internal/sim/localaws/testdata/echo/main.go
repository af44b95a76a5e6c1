// A function that does what its event asks for, to try the host with.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
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
			return nil, errors.New("as asked")
		case "exit":
			os.Exit(1)
		case "sleep":
			time.Sleep(time.Duration(in.MS) * time.Millisecond)
		case "environment":
			return os.Environ(), nil
		}
		deadline, _ := ctx.Deadline()
		return json.RawMessage(mustJSON(map[string]any{"pid": os.Getpid(), "calls": calls, "left": time.Until(deadline).Seconds()})), nil
	})
}

func mustJSON(v any) []byte { b, _ := json.Marshal(v); return b }

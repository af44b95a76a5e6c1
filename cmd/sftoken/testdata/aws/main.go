// aws stands in for the AWS CLI in the test of the documentation: `aws secretsmanager <operation> --<parameter> <value> …`, with the
// names that the SDK knows, which are the CLI's. What it does not know fails.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "aws: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 || args[0] != "secretsmanager" {
		return fmt.Errorf("want secretsmanager and an operation, not %q", args)
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		return err
	}
	operation := reflect.ValueOf(secretsmanager.NewFromConfig(cfg)).MethodByName(pascal(args[1]))
	if !operation.IsValid() {
		return fmt.Errorf("there is no operation %s", args[1])
	}
	input := reflect.New(operation.Type().In(1).Elem())
	for args = args[2:]; len(args) > 0; args = args[2:] {
		name, isFlag := strings.CutPrefix(args[0], "--")
		field := input.Elem().FieldByName(pascal(name))
		if !isFlag || len(args) < 2 || !field.IsValid() || field.Type() != reflect.TypeFor[*string]() {
			return fmt.Errorf("there is no parameter %s with a value", args[0])
		}
		field.Set(reflect.ValueOf(&args[1]))
	}
	out := operation.Call([]reflect.Value{reflect.ValueOf(context.Background()), input})
	if err, failed := out[1].Interface().(error); failed {
		return err
	}
	return nil
}

// pascal turns cancel-rotate-secret into CancelRotateSecret.
func pascal(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:min(1, len(part))]) + part[min(1, len(part)):])
	}
	return b.String()
}

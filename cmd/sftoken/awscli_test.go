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

// awsCommand is the part of the AWS CLI that the documentation uses: aws secretsmanager OPERATION --PARAMETER VALUE.
// It calls the SDK's operation of that name and fails if there is no such operation or parameter.
func awsCommand() {
	if err := callAWS(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "aws: %v\n", err)
		os.Exit(1)
	}
}

func callAWS(args []string) error {
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
	if err, failed := reflect.TypeAssert[error](out[1]); failed {
		return err
	}
	return nil
}

// pascal returns CancelRotateSecret for cancel-rotate-secret.
func pascal(name string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		b.WriteString(strings.ToUpper(part[:min(1, len(part))]) + part[min(1, len(part)):])
	}
	return b.String()
}

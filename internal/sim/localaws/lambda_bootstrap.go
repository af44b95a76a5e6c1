package localaws

import (
	"fmt"
	"os"
	"strings"
)

// bootstrapVar makes a process run as a function: NAME@ADDRESS, where ADDRESS is also the value of
// AWS_LAMBDA_RUNTIME_API. The address binds the variable to one Function, so that one that was left over by accident,
// or one in a real Lambda function, has no effect.
const bootstrapVar = "SFTOKEN_SIMULATED_FUNCTION"

// RunFunction runs a function in a process that a Function with FunctionConfig.Main has started, and exits. In every
// other process it does nothing. Call it first in main, or in TestMain: mains are the functions that the program
// contains.
func RunFunction(mains map[string]func() error) {
	name, ok := functionName(os.Getenv)
	if !ok {
		return
	}
	_ = os.Unsetenv(bootstrapVar)
	run := mains[name]
	if run == nil {
		fmt.Fprintf(os.Stderr, "this program contains no function %q\n", name)
		os.Exit(1)
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s function: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// functionName returns the name of the function that this process runs as, and reports whether it is one.
func functionName(getenv func(string) string) (name string, ok bool) {
	name, address, ok := strings.Cut(getenv(bootstrapVar), "@")
	return name, ok && name != "" && address != "" && address == getenv("AWS_LAMBDA_RUNTIME_API")
}

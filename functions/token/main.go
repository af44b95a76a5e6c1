// The token function: an API Gateway event in, a Salesforce access token or an OAuth error out.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/internal/tokenapi"
)

// version is set by the build.
var version = "dev"

func main() {
	if err := tokenapi.Run(context.Background(), os.Getenv, version); err != nil {
		fmt.Fprintf(os.Stderr, "token function: %v\n", err)
		os.Exit(1)
	}
}

// The token function: an API Gateway event in, a Salesforce access token or an OAuth error out.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/tokenapi"
)

func main() {
	if err := tokenapi.Run(context.Background(), os.Getenv, buildinfo.Version()); err != nil {
		fmt.Fprintf(os.Stderr, "token function: %v\n", err)
		os.Exit(1)
	}
}

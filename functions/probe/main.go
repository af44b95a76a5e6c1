// The probe function: on a schedule, a call to the API that must get a token, and two that must be refused.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/probeapi"
)

func main() {
	if err := probeapi.Run(context.Background(), os.Getenv, buildinfo.Version()); err != nil {
		fmt.Fprintf(os.Stderr, "probe function: %v\n", err)
		os.Exit(1)
	}
}

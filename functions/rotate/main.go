// The rotate function changes credentials on rotation steps, moved staging labels and the daily check.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/internal/rotateapi"
)

// version is set by the build.
var version = "dev"

func main() {
	if err := rotateapi.Run(context.Background(), os.Getenv, version); err != nil {
		fmt.Fprintf(os.Stderr, "rotate function: %v\n", err)
		os.Exit(1)
	}
}

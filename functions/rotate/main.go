// The rotate function changes credentials on rotation steps, moved staging labels and the daily check.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sftoken/sftoken/internal/buildinfo"
	"github.com/sftoken/sftoken/internal/rotateapi"
)

func main() {
	if err := rotateapi.Run(context.Background(), os.Getenv, buildinfo.Version()); err != nil {
		fmt.Fprintf(os.Stderr, "rotate function: %v\n", err)
		os.Exit(1)
	}
}

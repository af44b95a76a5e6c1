// Package stack runs all of sftoken on one machine: the real functions between a simulated Salesforce org and the AWS
// simulator of internal/sim/localaws. `sftoken local`, `sftoken demo` and tests use it.
package stack

import (
	"context"
	"os"

	"github.com/sftoken/sftoken/internal/probeapi"
	"github.com/sftoken/sftoken/internal/rotateapi"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/tokenapi"
)

// The functions, as localaws.FunctionConfig.Main names them.
const (
	TokenMain  = "token"
	RotateMain = "rotate"
	ProbeMain  = "probe" // which a stack does not start
)

// RunFunction runs one of the functions in a process that the simulator has started for it, and exits. In every
// other process it does nothing. A program that starts a stack calls it first in main, a test in TestMain.
func RunFunction(version string) {
	localaws.RunFunction(map[string]func() error{
		TokenMain:  func() error { return tokenapi.Run(context.Background(), os.Getenv, version) },
		RotateMain: func() error { return rotateapi.Run(context.Background(), os.Getenv, version) },
		ProbeMain:  func() error { return probeapi.Run(context.Background(), os.Getenv, version) },
	})
}

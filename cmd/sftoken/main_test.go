package main

import (
	"os"
	"testing"

	simstack "github.com/sftoken/sftoken/internal/sim/stack"
)

// TestMain lets the tests run this program as a function.
func TestMain(m *testing.M) {
	simstack.RunFunction(version)
	os.Exit(m.Run())
}

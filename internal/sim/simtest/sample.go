package simtest

import "testing"

var raceDetector bool // set in race.go

// Sampled reports whether exhaustive sweeps try only a sample: with -short, and with the race detector, which makes
// them ten times slower and limits the number of goroutines.
func Sampled() bool { return testing.Short() || raceDetector }

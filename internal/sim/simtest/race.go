//go:build race

package simtest

func init() { raceDetector = true }

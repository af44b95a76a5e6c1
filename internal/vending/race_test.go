//go:build race

package vending

func init() { raceDetector = true }

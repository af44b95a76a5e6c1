package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// line is the format of a line of results: what was measured, the two no-ops, sftoken, its ratio to the no-op, and the
// target.
const line = "%-34s %12s %12s %12s %9s   %s\n"

// compare prints a line of results by function. The target is the highest ratio of sftoken to the no-op.
func compare(what string, values map[string][]float64, target float64) {
	r := ratio(values[sftoken], values[noop])
	fmt.Printf(line, what, tenth(values[noop]), tenth(values[raw]), tenth(values[sftoken]), hundredth(r),
		atMost(r, target))
}

// compareShared prints what the token table costs where it is not needed, which should be nothing.
func compareShared(values map[string][]float64) {
	const most = 1.05 // more than a run differs from the next
	r := ratio(values[shared], values[sftoken])
	fmt.Printf(line, "with the token table", "", "", tenth(values[shared]), hundredth(ratio(values[shared], values[noop])),
		fmt.Sprintf("%s, %.2f times without", atMost(r, most), r))
}

// note prints a line without a target.
func note(what, name string, values map[string][]float64) {
	fmt.Printf(line, what, "", "", tenth(values[name]), hundredth(ratio(values[name], values[noop])), "for comparison")
}

func tenth(values []float64) string { return fmt.Sprintf("%.1f", median(values)) }

func hundredth(value float64) string { return fmt.Sprintf("%.2f", value) }

// atMost describes the target and reports whether the value meets it.
func atMost(value, target float64) string {
	verdict := "met"
	if value > target {
		verdict = "MISSED"
	}
	return fmt.Sprintf("≤ %.2f: %s", target, verdict)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of the ratios of each round.
func ratio(ours, noop []float64) float64 {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / noop[i]
	}
	return median(ratios)
}

// resident returns a process's resident memory, in MB.
func resident(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}

package appsecret

import "strings"

// NearMiss returns the field that name nearly is, and reports whether there is one. Upper case, separators and a plural
// do not matter. One letter may be missing, added, different or swapped with its neighbor; in a long name two, as in
// allowedPrinciples.
func NearMiss(name string) (known string, ok bool) {
	if IsField(name) {
		return "", false
	}
	squeezed := singular(squeeze(name))
	for _, field := range fieldNames() {
		plain := singular(squeeze(field))
		if abs(len(squeezed)-len(plain)) <= 2 && edits(squeezed, plain) <= 1+len(plain)/12 {
			return field, true
		}
	}
	return "", false
}

// squeeze returns the letters and digits, in lower case.
func squeeze(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127:
			return r
		default:
			return -1
		}
	}, text)
}

func abs(n int) int { return max(n, -n) }

func singular(word string) string { return strings.TrimSuffix(word, "s") }

// edits returns how many insertions, deletions, replacements and swaps of neighbors turn one text into the other.
// Source: the optimal string alignment distance.
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	beforeLast, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			row[j+1] = min(last[j+1], row[j]) + 1
			if x[i] == y[j] {
				row[j+1] = min(row[j+1], last[j])
			} else {
				row[j+1] = min(row[j+1], last[j]+1)
			}
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], beforeLast[j-1]+1)
			}
		}
		beforeLast, last = last, row
	}
	return last[len(y)]
}

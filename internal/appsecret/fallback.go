package appsecret

import (
	"iter"
	"slices"
)

// FallbackLabels are the labels whose credentials are tried at login when Salesforce refuses those of AWSCURRENT, in
// this order. While credentials are being changed, one of them works.
var FallbackLabels = []string{Pending, Candidate, Previous}

// Fallbacks yields the versions to log in with when Salesforce has refused current, in the order of FallbackLabels, and
// the label of each. It reads a version when its turn comes, and skips it if it cannot be read, belongs to another org,
// is a placeholder, or has the same credentials as a version in refused or one that came before it.
func Fallbacks(
	current *Version, refused []*Version, read func(label string) (*Version, error),
) iter.Seq2[string, *Version] {
	return func(yield func(string, *Version) bool) {
		tried := slices.Clone(refused)
		for _, label := range FallbackLabels {
			version, err := read(label)
			if err != nil || version.BaseURI != current.BaseURI || version.IsPlaceholder() || version.IsAmong(tried) {
				continue
			}
			if !yield(label, version) {
				return
			}
			tried = append(tried, version)
		}
	}
}

// IsAmong reports whether one of the versions has the same credentials as v.
func (v *Version) IsAmong(versions []*Version) bool {
	return slices.ContainsFunc(versions, v.SameCredentials)
}

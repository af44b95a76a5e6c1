package appsecret_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/internal/appsecret"
)

func TestFallbacks(t *testing.T) {
	t.Parallel()
	// version parses "key host": the rest follows from them.
	version := func(text string) *appsecret.Version {
		key, host, _ := strings.Cut(text, " ")
		v, err := appsecret.Parse(
			text,
			fmt.Sprintf(`{"consumerKey":%q,"consumerSecret":"s","baseUri":"https://%s"}`, key, host),
		)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, test := range []struct {
		name                         string
		pending, candidate, previous string // empty: cannot be read
		refused                      []string
		want                         string
	}{
		{name: "order", pending: "p a", candidate: "c a", previous: "o a", want: "AWSPENDING p a, CANDIDATE c a, AWSPREVIOUS o a"},
		{name: "unreadable", candidate: "c a", want: "CANDIDATE c a"},
		{name: "another org", pending: "p b", previous: "o a", want: "AWSPREVIOUS o a"},
		{name: "placeholder", pending: appsecret.Placeholder + " a", previous: "o a", want: "AWSPREVIOUS o a"},
		{name: "refused before", pending: "p a", candidate: "c a", refused: []string{"cur a", "p a"}, want: "CANDIDATE c a"},
		{name: "twice", pending: "c a", candidate: "c a", previous: "c a", want: "AWSPENDING c a"},
		{name: "the current credentials again", pending: "cur a", refused: []string{"cur a"}, want: ""},
	} {
		stored := map[string]string{
			appsecret.Pending: test.pending, appsecret.Candidate: test.candidate, appsecret.Previous: test.previous,
		}
		read := func(label string) (*appsecret.Version, error) {
			if stored[label] == "" {
				return nil, errors.New("no such version")
			}
			return version(stored[label]), nil
		}
		var refused []*appsecret.Version
		for _, text := range test.refused {
			refused = append(refused, version(text))
		}
		var got []string
		for label, v := range appsecret.Fallbacks(version("cur a"), refused, read) {
			got = append(got, label+" "+v.ID)
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s: %v, want %s", test.name, got, test.want)
		}
	}
	read := func(string) (*appsecret.Version, error) { return version("x a"), nil }
	for label := range appsecret.Fallbacks(version("cur a"), nil, read) {
		if label != appsecret.Pending {
			t.Errorf("%s was yielded after the loop had ended", label)
		}
		break
	}
}

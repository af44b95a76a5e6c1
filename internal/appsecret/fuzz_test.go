package appsecret

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		whole, "{}", "null", "[1]",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"c","allowedPrincipals":["222222222222"]}`,
		"\ufeff" + `{"consumerKey":"a","consumerSecret":"b","baseUri":"c","consumerKey":"twice",` +
			`"nested":{"x":[1,null,"\u0000"]}}`,
		`{"consumerKey":null,"consumerSecret":{"hush":"hush-hush"},"baseUri":7,"allowedPrincipals":{"hush":"hush-hush"}}`,
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"c","appId":null,"allowedPrincipals":["hush-hush",7]}`,
		`{"consumerKey":"hush-hush`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		v, err := Parse("v", value)
		if err != nil {
			if strings.Contains(value, "hush-hush") && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("the error holds a value: %v", err)
			}
			return
		}
		var before map[string]json.RawMessage
		if json.Unmarshal([]byte(strings.TrimPrefix(value, "\ufeff")), &before) != nil {
			t.Fatal("accepted what is not a JSON object")
		}
		for _, text := range []string{v.ConsumerKey, v.ConsumerSecret.Reveal(), v.BaseURI} {
			if text == "" || strings.TrimSpace(text) != text {
				t.Errorf("%q is a required field", text)
			}
		}
		if _, listed := before["allowedPrincipals"]; listed == (v.AllowedPrincipals == nil) {
			t.Errorf("listed: %t, and every principal is allowed: %t", listed, v.AllowedPrincipals == nil)
		}
		keeps(t, v, before)
	})
}

// keeps checks that a version with other credentials equals v in every other field, and reads as it was written.
func keeps(t *testing.T, v *Version, before map[string]json.RawMessage) {
	other := sfoauth.ConsumerCredentials{ConsumerKey: "3MVG9new", ConsumerSecret: sfoauth.NewSecret(`new"secret\`)}
	text := v.WithCredentials(other).Reveal()
	next, err := Parse("v2", text)
	if err != nil {
		t.Fatalf("what is written does not read: %v", err)
	}
	if !next.Credentials().Equal(other) || next.BaseURI != v.BaseURI || next.AppID != v.AppID || next.OrgID != v.OrgID ||
		next.WithCredentials(other).Reveal() != text {
		t.Error("the version changes when it is written and read back")
	}
	var after map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &after) != nil || len(after) != len(before) {
		t.Fatalf("%d fields, before %d", len(after), len(before))
	}
	for name, raw := range before {
		was, is := compact(t, raw), compact(t, after[name])
		if name != "consumerKey" && name != "consumerSecret" && was != is {
			t.Errorf("field %q was %s, and is %s", name, was, is)
		}
	}
}

func compact(t *testing.T, raw json.RawMessage) string {
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// FuzzPrincipals compares with a plain reading of the rules by regular expression.
func FuzzPrincipals(f *testing.F) {
	for _, seed := range [][2]string{
		{"arn:aws:iam::222222222222:role/bill*", "arn:aws:sts::222222222222:assumed-role/billing/anna"},
		{"2222*", "arn:aws:iam::222222222222:user/x"},
		{"*", "arn:aws:iam::333333333333:root"},
		{"arn:aws:iam::*:role/b*l*g", "arn:aws:iam::222222222222:role/path/billing"},
		{"arn:aws*:iam::22*22:user/team/*", "arn:aws-us-gov:iam::222222222222:user/team/x:y"},
		{"arn:aws:iam::222222222222:role/team/billing", "arn:aws:sts::222222222222:assumed-role/billing"},
		{"222222222222", "arn:aws:sts::222222222222:federated-user/anna"},
		{"arn:aws:iam::222222222222:role/*a*a", "arn:aws:sts::222222222222:assumed-role/aba/aa"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, entry, arn string) {
		encoded, _ := json.Marshal([]string{entry})
		p, err := parsePrincipals(encoded)
		if err != nil {
			return
		}
		var entries []string
		_ = json.Unmarshal(encoded, &entries) // encoding/json has replaced invalid UTF-8
		by, got := p.Match(arn)
		if want := allows(strings.TrimSpace(entries[0]), arn); got != want || got != (by == entries[0]) {
			t.Errorf("%q allows %q: %t by %q, want %t", entry, arn, got, by, want)
		}
	})
}

var arnPattern = regexp.MustCompile(`(?s)^arn:([^:]*):(iam|sts):([^:]*):([^:]{12}):(.*)$`)

func allows(entry, arn string) bool {
	parts := arnPattern.FindStringSubmatch(arn)
	if parts == nil {
		return false
	}
	partition, service, account, resource := parts[1], parts[2], parts[4], parts[5]
	role := regexp.MustCompile(`(?s)^role/(?:.*/)?([^/]*)$`).FindStringSubmatch(resource)
	if service == "sts" {
		role = regexp.MustCompile(`(?s)^assumed-role/([^/]*)(?:/.*)?$`).FindStringSubmatch(resource)
	}
	if role != nil {
		resource = "role/" + role[1]
	}
	match := func(pattern, text string) bool {
		return regexp.MustCompile("(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(text)
	}
	wanted := strings.SplitN(entry, ":", 6)
	if len(wanted) == 1 {
		return match(entry, account)
	}
	if wanted[5] == "root" || wanted[5] == "*" {
		wanted[5] = "*"
	} else if name, ok := strings.CutPrefix(wanted[5], "role/"); ok {
		wanted[5] = "role/" + name[strings.LastIndex(name, "/")+1:]
	}
	return match(wanted[1], partition) && match(wanted[4], account) && match(wanted[5], resource)
}

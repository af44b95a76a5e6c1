package appsecret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const whole = `{"consumerKey":" 3MVG9key ","consumerSecret":"\tabc123\n","baseUri":"https://acme.my.salesforce.com// ",
	"appId":"0xIxx0000000001","consumerId":"888xx0000000001","orgId":"00Dxx0000000001","userId":"005xx0000000001","note":"kept"}`

func TestParse(t *testing.T) {
	v, err := Parse("v1", "\ufeff "+whole)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{v.ID, v.ConsumerKey, v.ConsumerSecret.Reveal(), v.BaseURI, v.AppID, v.ConsumerID, v.OrgID, v.UserID}
	want := []string{"v1", "3MVG9key", "abc123", "https://acme.my.salesforce.com", "0xIxx0000000001", "888xx0000000001", "00Dxx0000000001", "005xx0000000001"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if v.AllowedPrincipals != nil || v.IsPlaceholder() {
		t.Errorf("principals %v, placeholder %t", v.AllowedPrincipals, v.IsPlaceholder())
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, *v); strings.Contains(text, "abc123") {
			t.Errorf("%s prints the consumer secret", verb)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for value, want := range map[string]string{
		"":                    "not a JSON object",
		"null":                "not a JSON object",
		"[]":                  "not a JSON object",
		`"text"`:              "not a JSON object",
		`{"consumerKey":`:     "not a JSON object",
		`{}`:                  "consumerKey is missing\nconsumerSecret is missing\nbaseUri is missing",
		`{"ConsumerKey":"a"}`: "consumerKey is missing",
		`{"consumerKey":"a","consumerSecret":" ","baseUri":"x"}`:                           "consumerSecret is missing",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"//"}`:                          "baseUri is missing",
		`{"consumerKey":7,"consumerSecret":"b","baseUri":"x"}`:                             "consumerKey is not a string",
		`{"consumerKey":"a","consumerSecret":{"x":"y"},"baseUri":"x"}`:                     "consumerSecret is not a string",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"x","allowedPrincipals":null}`:  "allowedPrincipals: want a list",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"x","allowedPrincipals":"222"}`: "allowedPrincipals: want a list",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"x","allowedPrincipals":["1"]}`: "allowedPrincipals: entry 1",
	} {
		if _, err := Parse("v", value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s): %v, want %q", value, err, want)
		}
	}
}

func TestPrincipals(t *testing.T) {
	const (
		session   = "arn:aws:sts::222222222222:assumed-role/billing/anna"
		otherRole = "arn:aws:sts::222222222222:assumed-role/shipping/billing"
		foreign   = "arn:aws:sts::333333333333:assumed-role/billing/anna"
		user      = "arn:aws:iam::222222222222:user/team/anna"
		root      = "arn:aws:iam::222222222222:root"
		gov       = "arn:aws-us-gov:sts::222222222222:assumed-role/billing/x"
		federated = "arn:aws:sts::222222222222:federated-user/anna"
	)
	everyone := []string{session, otherRole, foreign, user, root, gov, federated}
	for entry, want := range map[string][]string{
		"222222222222":                           {session, otherRole, user, root, gov, federated},
		" 222222222222 ":                         {session, otherRole, user, root, gov, federated},
		"2222*":                                  {session, otherRole, user, root, gov, federated},
		"*":                                      everyone,
		"arn:aws:iam::222222222222:root":         {session, otherRole, user, root, federated},
		"arn:aws:iam::222222222222:*":            {session, otherRole, user, root, federated},
		"arn:aws:iam::222222222222:role/billing": {session},
		"arn:aws:iam::222222222222:role/team/billing":   {session},
		"arn:aws:iam::222222222222:role/bill*":          {session},
		"arn:aws:iam::222222222222:role/*ing":           {session, otherRole},
		"arn:aws:iam::222222222222:role/b*l*g":          {session},
		"arn:aws:iam::222222222222:role/anna":           nil,
		"arn:aws:iam::*:role/billing":                   {session, foreign},
		"arn:aws-us-gov:iam::222222222222:role/billing": {gov},
		"arn:aws:iam::222222222222:user/team/anna":      {user},
		"arn:aws:iam::222222222222:user/anna":           nil,
		"arn:aws:iam::222222222222:user/*":              {user},
	} {
		encoded, _ := json.Marshal([]string{entry})
		p, err := parsePrincipals(encoded)
		if err != nil {
			t.Errorf("%s: %v", entry, err)
			continue
		}
		var got []string
		for _, arn := range everyone {
			if p.Allow(arn) {
				got = append(got, arn)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s allows %v, want %v", entry, got, want)
		}
		for _, junk := range []string{"", "arn", "arn:aws:iam:::user/anna", "arn:aws:s3::222222222222:role/billing", "222222222222"} {
			if p.Allow(junk) {
				t.Errorf("%s allows %q", entry, junk)
			}
		}
	}
	for _, bad := range []string{
		"", "22222222222", "2222222222222", "billing", "arn:aws:iam::222222222222:role/", "arn:aws:iam::222222222222:group/x",
		"arn:aws:sts::222222222222:assumed-role/billing/anna", "arn:aws:iam::222222222222:role/team/bill*", "arn:aws:iam::role/billing",
		"arn:aws:iam::222222222222:root/x", "role/billing", "arn:aws:iam::222222222222:role/a b",
	} {
		encoded, _ := json.Marshal([]string{bad})
		if _, err := parsePrincipals(encoded); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if empty, err := parsePrincipals(json.RawMessage(`[]`)); err != nil || empty.Allow(session) {
		t.Errorf("an empty list: %v; it must allow nobody", err)
	}
	if !(*Principals)(nil).Allow(session) {
		t.Error("no list must leave the decision to IAM")
	}
}

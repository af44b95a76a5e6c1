package appsecret

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

const whole = `{"consumerKey":" 3MVG9key ","consumerSecret":"\tabc123\n","baseUri":"https://acme.my.salesforce.com// ",
	"appId":"0xIxx0000000001","consumerId":"888xx0000000001",
	"orgId":"00Dxx0000000001","userId":"005xx0000000001","note":"kept"}`

func TestParse(t *testing.T) {
	v, err := Parse("v1", "\ufeff "+whole)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{v.ID, v.ConsumerKey, v.ConsumerSecret.Reveal(), v.BaseURI, v.AppID, v.ConsumerID, v.OrgID, v.UserID}
	want := []string{
		"v1", "3MVG9key", "abc123", "https://acme.my.salesforce.com",
		"0xIxx0000000001", "888xx0000000001", "00Dxx0000000001", "005xx0000000001",
	}
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

func TestParseErrors(t *testing.T) {
	for value, want := range map[string]string{
		"":                    "not a JSON object",
		"null":                "not a JSON object",
		"[]":                  "not a JSON object",
		`"text"`:              "not a JSON object",
		`{"consumerKey":`:     "not a JSON object",
		`{}`:                  "consumerKey is missing\nconsumerSecret is missing\nbaseUri is missing",
		`{"ConsumerKey":"a"}`: "consumerKey is missing",
		`{"consumerKey":"a","consumerSecret":" ","baseUri":"x"}`:       "consumerSecret is missing",
		`{"consumerKey":"a","consumerSecret":"b","baseUri":"//"}`:      "baseUri is missing",
		`{"consumerKey":7,"consumerSecret":"b","baseUri":"x"}`:         "consumerKey is not a string",
		`{"consumerKey":"a","consumerSecret":{"x":"y"},"baseUri":"x"}`: "consumerSecret is not a string",
		// A name that is nearly a field's, in each way of missing it.
		good("AllowedPrincipals", `["222222222222"]`):   `"AllowedPrincipals" is not a field (did you mean allowed`,
		good("allowedPrincipal", `["222222222222"]`):    "did you mean allowedPrincipals?",
		good("allowed_principals", `["222222222222"]`):  "did you mean allowedPrincipals?",
		good("allowed-Principals ", `["222222222222"]`): "did you mean allowedPrincipals?",
		good("alowedPrincipals", `["222222222222"]`):    "did you mean allowedPrincipals?",
		good("allowedPrinciples", `["222222222222"]`):   "did you mean allowedPrincipals?",
		good("allowedPrincipalls", `["222222222222"]`):  "did you mean allowedPrincipals?",
		good("orgID", `"00Dxx0000000001"`):              "did you mean orgId?",
		good("user_id", `"005xx0000000001"`):            "did you mean userId?",
		good("ogrId", `"00Dxx0000000001"`):              "did you mean orgId?",
		good("baseUrl", `"https://x"`):                  "did you mean baseUri?",
		good("consumer secret", `"x"`):                  "did you mean consumerSecret?",
	} {
		if _, err := Parse("v", value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s): %v, want %q", value, err, want)
		}
	}
}

// good returns a value with one more field, which is valid without it.
func good(name, value string) string {
	return fmt.Sprintf(`{"consumerKey":"a","consumerSecret":"b","baseUri":"x",%q:%s}`, name, value)
}

func TestUnknownFieldsAreAllowed(t *testing.T) {
	for name := range strings.FieldsSeq(
		"note nested organization principals allowed id adminSecretArn apiVersion userName allowedAccounts") {
		if _, err := Parse("v", good(name, `"x"`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnreadableListDeniesEveryone(t *testing.T) {
	for _, list := range []string{
		`null`, `"222222222222"`, `["1"]`, `{}`, `[1]`, `["222222222222","arn:aws:iam::222222222222:group/x"]`, `[null]`,
	} {
		v, err := Parse("v", good("allowedPrincipals", list))
		if err != nil {
			t.Errorf("%s: the credentials cannot be used: %v", list, err)
			continue
		}
		if v.PrincipalsErr == nil || !strings.Contains(v.PrincipalsErr.Error(), "allowedPrincipals: ") ||
			v.AllowedPrincipals.Allows("arn:aws:iam::222222222222:root") {
			t.Errorf("%s: %v, or the account's root user is allowed", list, v.PrincipalsErr)
		}
	}
}

func TestCovers(t *testing.T) {
	list := func(entries string) *Principals {
		if entries == "" {
			return nil
		}
		p, err := parsePrincipals(json.RawMessage(entries))
		if err != nil {
			t.Fatal(entries, err)
		}
		return p
	}
	const (
		account = `["222222222222"]`
		role    = `["arn:aws:iam::222222222222:role/billing"]`
		roles   = `["arn:aws:iam::222222222222:role/b*"]`
	)
	for _, test := range []struct {
		wide, narrow string
		want         bool
	}{
		{"", "", true}, {"", "[]", true}, {"", account, true}, {"[]", "", false}, {account, "", false},
		{"[]", "[]", true}, {"[]", account, false},
		{account, account, true}, {account, role, true}, {role, account, false}, {roles, role, true}, {role, roles, false},
		{`["*"]`, account, true}, {account, `["*"]`, false}, {`["arn:aws:iam::222222222222:role/*ing"]`, roles, false},
		{`["111111111111","222222222222"]`, account, true}, {account, `["111111111111","222222222222"]`, false},
		{`["arn:aws:iam::222222222222:role/*"]`, account, false},
		{`["arn:aws-us-gov:iam::222222222222:root"]`, account, false},
		{`["arn:aws:iam::222222222222:user/*"]`, role, false},
	} {
		if got := list(test.wide).Covers(list(test.narrow)); got != test.want {
			t.Errorf("%q covers %q: %t", test.wide, test.narrow, got)
		}
	}
}

func TestHidesRestriction(t *testing.T) {
	account := pattern{partition: "*", account: "222222222222"}
	open, listed := &Version{}, &Version{AllowedPrincipals: &Principals{patterns: []pattern{account}}}
	for _, test := range []struct {
		value        string
		open, listed bool
	}{
		{`{}`, false, false},
		{`{"consumerKey":"a"`, false, false},
		{`{"allowedPrincipals":["222222222222"]}`, true, false}, // no credentials
		{`{"allowedPrincipals":["333333333333"]}`, true, true},
		{`{"allowedPrincipals":"222222222222"}`, true, true},
		{`{"allowedPrincipals":["222222222222"],`, true, true}, // not JSON
		{`{"Allowed_Principal":["222222222222"]`, true, true},
		{good("allowedPrincipal", `["222222222222"]`), true, true},
		{good("orgID", `"00Dxx0000000001"`), false, false},
	} {
		_, err := Parse("v", test.value)
		if err == nil {
			t.Fatalf("%s can be read", test.value)
		}
		err = &Error{Kind: Malformed, Err: err}
		if got := HidesRestriction(err, open); got != test.open {
			t.Errorf("%s over no list: %t", test.value, got)
		}
		if got := HidesRestriction(err, listed); got != test.listed {
			t.Errorf("%s over a list: %t", test.value, got)
		}
	}
	if HidesRestriction(nil, open) || HidesRestriction(&Error{Kind: Unavailable}, open) {
		t.Error("an outage restricts callers")
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
	// The last part of a pattern must end the name: role/app-*-prod must not admit these.
	prodAdmin := "arn:aws:sts::222222222222:assumed-role/app-x-prod-admin/anna"
	prod := "arn:aws:sts::222222222222:assumed-role/app-x-prod/anna"
	p, err := parsePrincipals(json.RawMessage(`["arn:aws:iam::222222222222:role/app-*-prod"]`))
	if err != nil || p.Allows(prodAdmin) || !p.Allows(prod) {
		t.Errorf("app-*-prod (%v) allows app-x-prod-admin: %t, app-x-prod: %t", err, p.Allows(prodAdmin), p.Allows(prod))
	}
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
			if p.Allows(arn) {
				got = append(got, arn)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s allows %v, want %v", entry, got, want)
		}
		for _, junk := range []string{
			"", "arn", "arn:aws:iam:::user/anna", "arn:aws:s3::222222222222:role/billing", "222222222222",
		} {
			if p.Allows(junk) {
				t.Errorf("%s allows %q", entry, junk)
			}
		}
	}
	for _, bad := range []string{
		"", "22222222222", "2222222222222", "billing", "arn:aws:iam::222222222222:role/", "arn:aws:iam::222222222222:group/x",
		"arn:aws:sts::222222222222:assumed-role/billing/anna", "arn:aws:iam::222222222222:role/team/bill*",
		"arn:aws:iam::role/billing",
		"arn:aws:iam::222222222222:root/x", "role/billing", "arn:aws:iam::222222222222:role/a b",
	} {
		encoded, _ := json.Marshal([]string{bad})
		if _, err := parsePrincipals(encoded); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if empty, err := parsePrincipals(json.RawMessage(`[]`)); err != nil || empty.Allows(session) {
		t.Errorf("an empty list: %v; it must allow no principal", err)
	}
	if !(*Principals)(nil).Allows(session) {
		t.Error("no list must leave the decision to IAM")
	}
}

func TestPrincipalsMatch(t *testing.T) {
	const (
		role    = "arn:aws:iam::222222222222:role/team/billing"
		account = " 333333333333\n"
	)
	encoded, _ := json.Marshal([]string{"111111111111", role, "2222*", account})
	p, err := parsePrincipals(encoded)
	if err != nil {
		t.Fatal(err)
	}
	for arn, want := range map[string]string{
		"arn:aws:sts::222222222222:assumed-role/billing/anna":  role, // the first entry, although 2222* matches too
		"arn:aws:sts::222222222222:assumed-role/shipping/anna": "2222*",
		"arn:aws:iam::333333333333:user/anna":                  account, // as stored
		"arn:aws:iam::444444444444:user/anna":                  "",
		"111111111111":                                         "",
	} {
		if entry, ok := p.Match(arn); entry != want || ok != (want != "") {
			t.Errorf("%s: %t by %q, want %q", arn, ok, entry, want)
		}
	}
	if entry, ok := (*Principals)(nil).Match("arn:aws:iam::444444444444:user/anna"); !ok || entry != "" {
		t.Errorf("without a list: %t by %q", ok, entry)
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// characters looks for what copying from Setup, an editor or a chat leaves around a value. sftoken tolerates some of
// it, which another reader of the secret may not.
func (s *session) characters(context.Context) outcome {
	var p problems
	text, marked := strings.CutPrefix(s.value.Reveal(), "\ufeff")
	if marked {
		p.odd = append(p.odd, "the value begins with a byte order mark")
	}
	fields, _ := appsecret.Fields(text) // valid: Parse has accepted it
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if meant := synonyms[strings.ToLower(name)]; meant != "" {
			p.odd = append(p.odd, fmt.Sprintf("the field %q is unknown: did you mean %s?", line(name), meant))
		}
		var value string
		if !appsecret.IsField(name) || json.Unmarshal(fields[name], &value) != nil {
			continue
		}
		trimmed := strings.TrimSpace(value)
		if trimmed != value {
			p.odd = append(p.odd, "there is white space around "+name)
		}
		if strings.ContainsFunc(trimmed, func(r rune) bool { return r <= ' ' || r > '~' }) {
			p.wrong = append(p.wrong, name+" contains white space or invisible characters")
		}
		if strings.ContainsAny(trimmed, "\"'`<>") {
			p.wrong = append(p.wrong, name+" contains quotation marks or brackets")
		}
	}
	if isConsumerKey(s.version.ConsumerSecret.Reveal()) && !isConsumerKey(s.version.ConsumerKey) {
		p.wrong = append(p.wrong, "consumerKey and consumerSecret look swapped")
	}
	return p.outcome("key and secret have no stray characters", "copy both from Setup again, and store them again",
		"store it again without them: sftoken ignores them, another reader of the secret may not")
}

// synonyms are other names for fields, in lower case. Parse rejects names that differ from a field's name only a
// little.
var synonyms = map[string]string{
	"instanceurl": "baseUri", "organizationid": "orgId", "principals": "allowedPrincipals",
}

// isConsumerKey reports whether text begins as Salesforce's consumer keys do.
func isConsumerKey(text string) bool { return strings.HasPrefix(text, "3MVG9") }

// ids checks the form of the record IDs. Source of the prefixes: Salesforce Help, "Standard Field Record ID Prefix
// Decoder".
func (s *session) ids(context.Context) outcome {
	var p problems
	for _, id := range []struct{ name, value, prefix, object string }{
		{"appId", s.version.AppID, "0xI", "an External Client App"},
		{"consumerId", s.version.ConsumerID, "888", "a consumer"},
		{"orgId", s.version.OrgID, "00D", "an organization"}, {"userId", s.version.UserID, "005", "a user"},
	} {
		switch {
		case id.value == "":
		case !isRecordID(id.value):
			p.wrong = append(p.wrong, id.name+" is not a record ID of 15 or 18 letters and digits")
		case !strings.HasPrefix(id.value, id.prefix):
			p.odd = append(p.odd, fmt.Sprintf("%s does not begin with %s, as the ID of %s does", id.name, id.prefix, id.object))
		}
	}
	if (s.version.AppID == "") != (s.version.ConsumerID == "") {
		p.odd = append(p.odd, "only one of appId and consumerId is set: rotation needs both")
	}
	return p.outcome("well-formed",
		"look them up: orgId in Company Information; appId and consumerId with /services/data/v65.0/apps/oauth/usage", "")
}

func isRecordID(text string) bool {
	return (len(text) == 15 || len(text) == 18) &&
		!strings.ContainsFunc(text, func(r rune) bool { return r > '~' || !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

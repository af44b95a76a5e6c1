// Package appsecret holds one Salesforce app's credentials as they are stored in AWS Secrets Manager: what the value
// means, and how a version of it is read. What the credentials are used for is left to internal/vending and
// internal/rotation.
package appsecret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// The labels of a version. The first three are Secrets Manager's own; the others are this project's.
const (
	Current   = "AWSCURRENT"
	Pending   = "AWSPENDING"
	Previous  = "AWSPREVIOUS"
	Candidate = "CANDIDATE" // a pair that a person put there to be tried and, if it works, made current
	Rejected  = "REJECTED"  // one that was tried and refused
	// Compromised marks the version whose pair has leaked: once it is not current any more, its pair is deleted at Salesforce
	// and the tokens made with it are revoked.
	Compromised = "COMPROMISED"
)

// Placeholder stands for the pair in a secret that a deployment has made and nobody has filled in yet.
const Placeholder = "replace-me"

// NamePattern is what an app's name looks like. It is checked by hand: a regular expression would be compiled at each start
// of the functions.
const NamePattern = "[a-z0-9][a-z0-9-]{0,62}"

// ValidName says whether name can be an app's.
func ValidName(name string) bool {
	return len(name) >= 1 && len(name) <= 63 && name[0] != '-' && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Version is one version of an app's secret. It is immutable.
type Version struct {
	App            string    // whose secret it is of; empty where it was parsed alone
	ID             string    // Secrets Manager's version id, which is unique within one secret
	Created        time.Time // when it was stored; zero where that is not known
	ConsumerKey    string
	ConsumerSecret sfoauth.Secret
	BaseURI        string // without a trailing slash
	AppID          string // 0xI…; empty where the app cannot rotate itself
	ConsumerID     string // 888…; likewise
	OrgID          string // empty: not pinned
	UserID         string // empty: not pinned
	// AllowedPrincipals may have this app's tokens. Nil: IAM alone decides. Empty: no caller gets one.
	AllowedPrincipals *Principals
	// PrincipalsErr is why the stored allowedPrincipals cannot be read; nil: it can. AllowedPrincipals is empty then: a restriction
	// that cannot be read denies every caller, while the credentials keep working.
	PrincipalsErr error

	value sfoauth.Secret // the JSON as stored, for writing it back with fields that are not known here
}

// IsField says whether name is that of a field that Parse reads. Others are kept, and mean nothing here.
func IsField(name string) bool { return slices.Contains(fieldNames(), name) }

const principalsField = "allowedPrincipals"

func fieldNames() []string {
	names := []string{principalsField}
	for _, f := range new(Version).stringFields(new(string)) {
		names = append(names, f.name)
	}
	return names
}

// field is a field whose value is a string.
type field struct {
	name     string
	required bool
	dst      *string
}

func (v *Version) stringFields(secret *string) [7]field {
	return [...]field{
		{"consumerKey", true, &v.ConsumerKey},
		{"consumerSecret", true, secret},
		{"baseUri", true, &v.BaseURI},
		{"appId", false, &v.AppID},
		{"consumerId", false, &v.ConsumerID},
		{"orgId", false, &v.OrgID},
		{"userId", false, &v.UserID},
	}
}

// Parse reads a secret's value. White space around values and slashes at the end of baseUri are forgiven, and so is
// a byte order mark, which some editors put in front. The error names what is wrong with which field, and holds no value.
//
// A name that differs from a field's by a detail, as NearMiss has it, is an error: it was meant to say something. A list of
// allowedPrincipals that cannot be read is not: see Version.PrincipalsErr.
func Parse(id, value string) (*Version, error) {
	fields, err := Fields(value)
	if err != nil {
		return nil, &valueError{mentionsPrincipals(value), err}
	}
	v := &Version{ID: id, value: sfoauth.NewSecret(value)}
	var secret string
	var errs []error
	for _, field := range v.stringFields(&secret) {
		raw, present := fields[field.name]
		if present && json.Unmarshal(raw, field.dst) != nil {
			errs = append(errs, fmt.Errorf("%s is not a string", field.name))
			continue
		}
		*field.dst = strings.TrimSpace(*field.dst)
		if field.name == "baseUri" {
			v.BaseURI = strings.TrimRight(v.BaseURI, "/")
		}
		if field.required && *field.dst == "" {
			errs = append(errs, fmt.Errorf("%s is missing", field.name))
		}
	}
	v.ConsumerSecret = sfoauth.NewSecret(secret)
	if raw, present := fields[principalsField]; present {
		if v.AllowedPrincipals, err = parsePrincipals(raw); err != nil {
			v.AllowedPrincipals, v.PrincipalsErr = &Principals{}, fmt.Errorf("%s: %w", principalsField, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if known, ok := NearMiss(name); ok {
			errs = append(errs, fmt.Errorf("%q is not a field: is %s meant?", name, known))
			if known == principalsField {
				v.AllowedPrincipals = &Principals{}
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, &valueError{v.AllowedPrincipals, err}
	}
	return v, nil
}

// Fields reads a stored value as the JSON object that it must be, and does not look at what the fields hold.
func Fields(value string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(trimBOM(value), &fields); err != nil || fields == nil {
		return nil, errors.New("the value is not a JSON object with consumerKey, consumerSecret and baseUri")
	}
	return fields, nil
}

// valueError is why a value is malformed.
type valueError struct {
	principals *Principals // that the value has, as far as it can be read; nil: it restricts no caller
	err        error
}

func (e *valueError) Error() string { return e.err.Error() }

func (e *valueError) Unwrap() error { return e.err }

// HidesRestriction reports whether err is about a malformed value that was to restrict callers more than version does: serving
// callers by version instead would let in those whom the value keeps out.
func HidesRestriction(err error, version *Version) bool {
	malformed, ok := errors.AsType[*valueError](err)
	return ok && !malformed.principals.Covers(version.AllowedPrincipals)
}

// mentionsPrincipals returns an empty list where a value that is no JSON object seems to have allowedPrincipals, and nil otherwise.
// It may be in UTF-16.
func mentionsPrincipals(value string) *Principals {
	for word := range strings.SplitSeq(strings.ReplaceAll(value, "\x00", ""), `"`) {
		if known, near := NearMiss(word); word == principalsField || near && known == principalsField {
			return &Principals{}
		}
	}
	return nil
}

// trimBOM is the value without a byte order mark.
func trimBOM(value string) []byte { return bytes.TrimPrefix([]byte(value), []byte("\ufeff")) }

// IsPlaceholder says whether nobody has put a real pair here yet.
func (v *Version) IsPlaceholder() bool {
	return v.ConsumerKey == Placeholder || v.ConsumerSecret.Reveal() == Placeholder
}

// CanSelfRotate says whether the pair can be changed through Salesforce's API.
func (v *Version) CanSelfRotate() bool {
	return v.AppID != "" && v.ConsumerID != "" && !v.IsPlaceholder()
}

// Credentials returns the pair.
func (v *Version) Credentials() sfoauth.ConsumerCredentials {
	return sfoauth.ConsumerCredentials{ConsumerKey: v.ConsumerKey, ConsumerSecret: v.ConsumerSecret}
}

// SameCredentials says whether both versions log in with the same pair in the same org.
func (v *Version) SameCredentials(other *Version) bool {
	return v.Credentials().Equal(other.Credentials()) && v.BaseURI == other.BaseURI
}

// WithCredentials returns the value to store for a version that differs in its pair alone. Fields that are not known here stay as they
// are.
func (v *Version) WithCredentials(pair sfoauth.ConsumerCredentials) sfoauth.Secret {
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(trimBOM(v.value.Reveal()), &fields) // Parse has done it before
	fields["consumerKey"], _ = json.Marshal(pair.ConsumerKey)
	fields["consumerSecret"], _ = json.Marshal(pair.ConsumerSecret.Reveal())
	value, _ := json.Marshal(fields)
	return sfoauth.NewSecret(string(value))
}

// Value returns the value as it is stored.
func (v *Version) Value() sfoauth.Secret { return v.value }

// Client returns an OAuth client that logs in with this version.
func (v *Version) Client(hosts sfoauth.AllowedHosts, client *http.Client) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: v.BaseURI, ConsumerKey: v.ConsumerKey, ConsumerSecret: v.ConsumerSecret, AllowedHosts: hosts, HTTPClient: client,
	}
}

// VerifyIdentity refuses a token that belongs to another organization or user than the secret pins.
func (v *Version) VerifyIdentity(token *sfoauth.Token) error {
	if v.OrgID != "" && !sfoauth.EqualIDs(v.OrgID, token.OrganizationID) {
		return fmt.Errorf("the pair logs in to organization %s, but the secret's orgId is %s", token.OrganizationID, v.OrgID)
	}
	if v.UserID != "" && !sfoauth.EqualIDs(v.UserID, token.UserID) {
		return fmt.Errorf("the pair logs in as user %s, but the secret's userId is %s", token.UserID, v.UserID)
	}
	return nil
}

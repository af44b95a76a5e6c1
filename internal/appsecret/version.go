// Package appsecret holds one Salesforce app's credentials as stored in AWS Secrets Manager: the fields of the value,
// how to read and write versions of it, and the order in which versions are tried at login. What the credentials are
// used for is left to internal/vending and internal/rotation.
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

// Labels of a version. The first three are Secrets Manager's own; the others are this project's.
const (
	Current   = "AWSCURRENT"
	Pending   = "AWSPENDING"
	Previous  = "AWSPREVIOUS"
	Candidate = "CANDIDATE" // credentials that a person stored to be tried and, if they work, made current
	Rejected  = "REJECTED"  // credentials that were tried and refused
	// Compromised marks the version whose credentials have leaked. Once it is not current any more, its credentials are
	// deleted at Salesforce and the tokens issued to them are revoked.
	Compromised = "COMPROMISED"
)

// Placeholder stands for the credentials in a secret that a deployment has created and that is not filled in yet.
const Placeholder = "replace-me"

// NamePattern describes an app's name. ValidName checks it by hand, because a regular expression would be compiled at
// each start of the functions.
const NamePattern = "[a-z0-9][a-z0-9-]{0,62}"

// ValidName reports whether name can be an app's.
func ValidName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return len(name) >= 1 && len(name) <= 63 && name[0] != '-' && strings.Trim(name, letters) == ""
}

// Version is one version of an app's secret. It is immutable.
type Version struct {
	App            string    // empty where the value was parsed alone
	ID             string    // Secrets Manager's version ID, which is unique within one secret
	Created        time.Time // when it was stored; zero: not known
	ConsumerKey    string
	ConsumerSecret sfoauth.Secret
	BaseURI        string // without a trailing slash
	AppID          string // 0xI…; empty where the app cannot rotate itself
	ConsumerID     string // 888…; likewise
	OrgID          string // empty: not pinned
	UserID         string // empty: not pinned
	// AllowedPrincipals may get this app's tokens. Nil: IAM alone decides. Empty: no caller gets one.
	AllowedPrincipals *Principals
	// PrincipalsErr is why the stored allowedPrincipals cannot be read; nil: it can. AllowedPrincipals is then empty: a
	// restriction that cannot be read denies every caller, while the credentials keep working.
	PrincipalsErr error

	value sfoauth.Secret // the JSON as stored, to be written back with its unknown fields
}

// IsField reports whether name is that of a field that Parse reads. Other fields are kept, and mean nothing here.
func IsField(name string) bool { return slices.Contains(fieldNames(), name) }

const principalsField = "allowedPrincipals"

func fieldNames() []string {
	names := []string{principalsField}
	for _, f := range new(Version).stringFields(new(string)) {
		names = append(names, f.name)
	}
	return names
}

// field is a field with a string value.
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

// Parse reads a secret's value. It accepts white space around values, slashes at the end of baseUri, and a byte order
// mark, which some editors add. The error names what is wrong with which field, and holds no value.
//
// A name that nearly equals a field's, by the rules of NearMiss, is an error, because a restriction or pin was probably
// intended. An unreadable list of allowedPrincipals is not an error: see Version.PrincipalsErr.
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
			errs = append(errs, fmt.Errorf("%q is not a field (did you mean %s?)", name, known))
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

// Fields decodes a stored value, which must be a JSON object, and leaves its fields as they are.
func Fields(value string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(trimBOM(value), &fields); err != nil || fields == nil {
		return nil, errors.New("the value is not a JSON object with consumerKey, consumerSecret and baseUri")
	}
	return fields, nil
}

// valueError is why a value is malformed.
type valueError struct {
	principals *Principals // those of the value, as far as they can be read; nil: it restricts no caller
	err        error
}

func (e *valueError) Error() string { return e.err.Error() }

func (e *valueError) Unwrap() error { return e.err }

// HidesRestriction reports whether err is about a malformed value that was meant to restrict callers more than version
// does. Using version instead would then admit callers whom the value keeps out.
func HidesRestriction(err error, version *Version) bool {
	malformed, ok := errors.AsType[*valueError](err)
	return ok && !malformed.principals.Covers(version.AllowedPrincipals)
}

// mentionsPrincipals returns an empty list if a value that is not a JSON object seems to have allowedPrincipals, and
// nil otherwise. The value may be in UTF-16.
func mentionsPrincipals(value string) *Principals {
	for word := range strings.SplitSeq(strings.ReplaceAll(value, "\x00", ""), `"`) {
		if known, near := NearMiss(word); word == principalsField || near && known == principalsField {
			return &Principals{}
		}
	}
	return nil
}

// trimBOM returns the value without a byte order mark.
func trimBOM(value string) []byte { return bytes.TrimPrefix([]byte(value), []byte("\ufeff")) }

// IsPlaceholder reports whether no real credentials are stored yet.
func (v *Version) IsPlaceholder() bool {
	return v.ConsumerKey == Placeholder || v.ConsumerSecret.Reveal() == Placeholder
}

// CanSelfRotate reports whether the credentials can be changed through Salesforce's API.
func (v *Version) CanSelfRotate() bool {
	return v.AppID != "" && v.ConsumerID != "" && !v.IsPlaceholder()
}

// Credentials returns the consumer key and secret.
func (v *Version) Credentials() sfoauth.ConsumerCredentials {
	return sfoauth.ConsumerCredentials{ConsumerKey: v.ConsumerKey, ConsumerSecret: v.ConsumerSecret}
}

// SameCredentials reports whether both versions log in with the same credentials to the same org.
func (v *Version) SameCredentials(other *Version) bool {
	return v.Credentials().Equal(other.Credentials()) && v.BaseURI == other.BaseURI
}

// WithCredentials returns the value to store for a version that differs in its credentials alone. It keeps all other
// fields.
func (v *Version) WithCredentials(credentials sfoauth.ConsumerCredentials) sfoauth.Secret {
	fields, _ := Fields(v.value.Reveal()) // valid: Parse has accepted it
	fields["consumerKey"], _ = json.Marshal(credentials.ConsumerKey)
	fields["consumerSecret"], _ = json.Marshal(credentials.ConsumerSecret.Reveal())
	value, _ := json.Marshal(fields)
	return sfoauth.NewSecret(string(value))
}

// Value returns the value as it is stored.
func (v *Version) Value() sfoauth.Secret { return v.value }

// Client returns an OAuth client that logs in with this version.
func (v *Version) Client(hosts sfoauth.AllowedHosts, client *http.Client) *sfoauth.Client {
	return &sfoauth.Client{
		BaseURL: v.BaseURI, ConsumerKey: v.ConsumerKey, ConsumerSecret: v.ConsumerSecret,
		AllowedHosts: hosts, HTTPClient: client,
	}
}

// VerifyIdentity returns an error if the token belongs to another org or user than the secret pins.
func (v *Version) VerifyIdentity(token *sfoauth.Token) error {
	if v.OrgID != "" && !sfoauth.EqualIDs(v.OrgID, token.OrganizationID) {
		return fmt.Errorf("the credentials log in to organization %s, but the secret's orgId is %s",
			token.OrganizationID, v.OrgID)
	}
	if v.UserID != "" && !sfoauth.EqualIDs(v.UserID, token.UserID) {
		return fmt.Errorf("the credentials log in as user %s, but the secret's userId is %s", token.UserID, v.UserID)
	}
	return nil
}

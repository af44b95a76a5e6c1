package rotation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// value returns a secret's value with the app's primary credentials.
func (h *harness) value(app *sfoauthtest.App, fields map[string]any) map[string]any {
	value := h.Value(app.Credentials())
	maps.Copy(value, fields)
	return value
}

// Values of secrets whose credentials do not work.
func wrong() map[string]any { return valueOf("3MVG9wrong", "wrong", simtest.OrgURL) }

func placeholder() map[string]any {
	return valueOf("replace-me", "replace-me", "https://replace-me.my.salesforce.com")
}

func valueOf(key, secret, baseURI string) map[string]any {
	return map[string]any{"consumerKey": key, "consumerSecret": secret, "baseUri": baseURI}
}

// store writes a version of crm under the label that has these credentials and crm's other fields. It returns its ID.
func (h *harness) store(key, secret, label string) string {
	h.T.Helper()
	return h.storeValue(label, map[string]any{"consumerKey": key, "consumerSecret": secret})
}

func (h *harness) storeWrong(label string) string { return h.store("3MVG9wrong", "wrong", label) }

// storeSame stores the app's credentials once more.
func (h *harness) storeSame(label string) string { return h.storeValue(label, nil) }

// storeNew makes new credentials in Setup, which ends those before, and stores them.
func (h *harness) storeNew(label string) string {
	key, secret := h.App.Regenerate()
	return h.store(key, secret, label)
}

// storeOther stores the credentials of another app of the org, which acts as the user (nil: one of its own).
func (h *harness) storeOther(label string, runAs *sfoauthtest.User) (version string, other *sfoauthtest.App) {
	other = h.Org.AddApp(sfoauthtest.AppOptions{Name: "Other", RunAs: runAs})
	key, secret := other.Credentials()
	return h.store(key, secret, label), other
}

// storeValue writes a version of crm with the app's credentials, crm's fields and these; nil leaves one out.
func (h *harness) storeValue(label string, fields map[string]any) string {
	h.T.Helper()
	value := h.value(h.App, h.fields)
	for name, field := range fields {
		value[name] = field
		if field == nil {
			delete(value, name)
		}
	}
	return h.Store(value, label)
}

// at returns the fields of the version with the label; nil: there is none.
func (h *harness) at(label string) map[string]any {
	h.T.Helper()
	quiet := h.quiet.Swap(true)
	defer h.quiet.Store(quiet)
	out, err := h.Secrets.GetSecretValue(h.T.Context(), &secretsmanager.GetSecretValueInput{
		SecretId: aws.String(crm), VersionStage: &label,
	})
	if err != nil {
		return nil
	}
	var fields map[string]any
	if json.Unmarshal([]byte(*out.SecretString), &fields) != nil {
		return map[string]any{}
	}
	return fields
}

func text(fields map[string]any, name string) string { s, _ := fields[name].(string); return s }

// describe opens crm's secret. The call is not watched.
func (h *harness) describe() *appsecret.Secret {
	h.T.Helper()
	quiet := h.quiet.Swap(true)
	defer h.quiet.Store(quiet)
	return h.Secret()
}

// version returns the ID of the version with the label; empty: there is none.
func (h *harness) version(label string) string { return h.describe().VersionWithLabel(label) }

// labels checks which version has each label: labels("AWSCURRENT", id, "REJECTED", ""), where no version has REJECTED.
func (h *harness) labels(want ...string) {
	h.T.Helper()
	s := h.describe()
	for i := 0; i < len(want); i += 2 {
		if label, version := want[i], want[i+1]; s.VersionWithLabel(label) != version {
			h.T.Errorf("%s is not on %q: %v\n%s", label, version, s.Labels, h.log.String())
		}
	}
}

// logsIn reports whether the credentials of the version with the label work now.
func (h *harness) logsIn(label string) bool {
	fields := h.at(label)
	return h.Org.CanLogin(text(fields, "consumerKey"), text(fields, "consumerSecret"))
}

// checkCurrentWorks checks that AWSCURRENT logs in.
func (h *harness) checkCurrentWorks() {
	h.T.Helper()
	if !h.logsIn("AWSCURRENT") {
		h.T.Errorf("AWSCURRENT does not log in: labels %v\n%s", h.describe().Labels, h.log.String())
	}
}

// checkEnded checks that the credentials do not log in any more.
func (h *harness) checkEnded(key, secret string) {
	h.T.Helper()
	if h.Org.CanLogin(key, secret) {
		h.T.Errorf("the compromised credentials still log in\n%s", h.log.String())
	}
}

// rotated returns why the credentials with oldKey do not count as rotated; nil: they do.
func (h *harness) rotated(oldKey string) error {
	h.T.Helper()
	fields := h.at("AWSCURRENT")
	key, secret := h.App.Credentials()
	switch {
	case text(fields, "consumerKey") == oldKey:
		return errors.New("AWSCURRENT has the old credentials")
	case text(fields, "consumerKey") != key || text(fields, "consumerSecret") != secret:
		return errors.New("AWSCURRENT does not have the primary credentials")
	case !h.logsIn("AWSCURRENT"):
		return errors.New("AWSCURRENT does not log in")
	case text(fields, "note") != "kept as it is" || fmt.Sprint(fields["nested"]) != "map[kept:[1 two]]",
		text(fields, "appId") != h.App.ID:
		return errors.New("a field of the secret was lost")
	}
	for _, staged := range h.App.Staged() {
		if staged.State == "Active" {
			return errors.New("credentials are left staged")
		}
	}
	s := h.describe()
	if pending := s.VersionWithLabel("AWSPENDING"); pending != "" && pending != s.VersionWithLabel("AWSCURRENT") {
		return errors.New("AWSPENDING is left on another version")
	}
	return nil
}

// checkRotated fails the test unless the credentials with oldKey were rotated.
func (h *harness) checkRotated(oldKey string) {
	h.T.Helper()
	if err := h.rotated(oldKey); err != nil {
		h.T.Errorf("%v: labels %v\n%s", err, h.describe().Labels, h.log.String())
	}
}

func (h *harness) key() string { key, _ := h.App.Credentials(); return key }

// logged checks that the log has a line with all of the texts.
func (h *harness) logged(texts ...string) {
	h.T.Helper()
	for line := range strings.Lines(h.log.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			return
		}
	}
	h.T.Errorf("no line with %q in the log:\n%s", texts, h.log.String())
}

// noFailures checks that no alarm fires.
func (h *harness) noFailures() {
	h.T.Helper()
	if log := h.log.String(); strings.Contains(log, "RotationFailures") {
		h.T.Errorf("an alarm fires:\n%s", log)
	}
}

// noDeadLetters checks that no event was given up.
func (h *harness) noDeadLetters() {
	h.T.Helper()
	if dead := h.bus.DeadLetters(); len(dead) != 0 {
		h.T.Errorf("%d dead letters: no retry was of use", len(dead))
	}
}

// noSecrets fails the test if the log, or an error that the function has returned, holds anything that the org keeps
// secret, or the token that Secrets Manager sends with a step.
func (h *harness) noSecrets() {
	h.T.Helper()
	h.NoSecrets(h.log.String()+h.errors.String(), rotationToken)
}

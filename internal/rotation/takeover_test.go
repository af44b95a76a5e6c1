package rotation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const evil = simtest.Prefix + "evil"

// attack is a writer of the secret evil, who knows everything about crm that is not secret: its IDs and consumer keys.
type attack struct {
	*harness
	own    *sfoauthtest.App // evil's own app, whose credentials work
	before []string         // crm's credentials when the attack begins
}

// begin begins the attack. If crm's secret is not stored here, no other secret can be found to hold its credentials.
func (a *attack) begin(stored bool) {
	a.before = a.holdings()
	if stored {
		return
	}
	_, err := a.Secrets.DeleteSecret(a.T.Context(), &secretsmanager.DeleteSecretInput{
		SecretId: aws.String(crm), ForceDeleteWithoutRecovery: aws.Bool(true),
	})
	a.Must(err)
}

// put stores a version of evil with crm's IDs under the label and returns its ID. The given ID is empty for a new one.
func (a *attack) put(key, secret, label, id string) string {
	a.T.Helper()
	value := valueOf(key, secret, simtest.OrgURL)
	value["appId"], value["consumerId"] = a.App.ID, a.App.ConsumerID
	input := &secretsmanager.PutSecretValueInput{
		SecretId: aws.String(evil), SecretString: aws.String(simtest.Encode(value)), VersionStages: []string{label},
	}
	if id != "" {
		input.ClientRequestToken = &id
	}
	out, err := a.Secrets.PutSecretValue(a.T.Context(), input)
	a.Must(err)
	return *out.VersionId
}

func (a *attack) putOwn(label string) {
	key, secret := a.own.Credentials()
	a.put(key, secret, label, "")
}

func (a *attack) rotateEvil() {
	_, _ = a.Secrets.RotateSecret(a.T.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(evil), RotationLambdaARN: aws.String(functionARN),
	})
	a.deliver()
}

// stepsOf calls the function for all steps of a version that the writer has labelled AWSPENDING.
func (a *attack) stepsOf(version string) {
	for _, step := range steps {
		_ = a.stepOf(evil, step, version)
	}
	a.deliver()
}

// attacks are what the writer of one app's secret can store to reach another app in the same org.
var attacks = map[string]func(a *attack, begin func()){
	"credentials that do not work": func(a *attack, begin func()) {
		begin()
		a.put("3MVG9bogus", "bogus", "AWSCURRENT", "")
		a.rotateEvil()
	},
	"two versions that do not work": func(a *attack, begin func()) {
		begin()
		a.put("3MVG9bogus1", "bogus", "AWSCURRENT", "")
		a.put("3MVG9bogus2", "bogus", "AWSCURRENT", "")
		a.rotateEvil()
		a.rotateEvil()
	},
	"credentials of its own": func(a *attack, begin func()) {
		begin()
		a.putOwn("AWSCURRENT")
		a.rotateEvil()
	},
	"crm's consumer key with another secret": func(a *attack, begin func()) {
		begin()
		a.put(a.key(), "guessed", "AWSCURRENT", "")
		a.rotateEvil()
		a.put(a.key(), "guessed", "CANDIDATE", "")
		a.rotateEvil()
	},
	"the staged consumer key": func(a *attack, begin func()) {
		staged := a.stage()
		begin()
		a.putOwn("AWSCURRENT")
		a.stepsOf(a.put(staged.Key, "guessed", "AWSPENDING", ""))
		a.put(staged.Key, "guessed", "AWSCURRENT", "")
		a.rotateEvil()
	},
	"a pending version with crm's consumer key": func(a *attack, begin func()) {
		begin()
		a.stepsOf(a.put(a.key(), "guessed", "AWSPENDING", ""))
	},
	"crm's old consumer key as COMPROMISED": func(a *attack, begin func()) {
		old := a.key()
		a.rotateAndDeliver() // the old credentials still work
		begin()
		for _, guess := range []string{"", " ", "guessed"} {
			a.putOwn("AWSCURRENT")
			a.put(old, guess, "COMPROMISED", "")
			a.deliver()
			a.rotateEvil()
		}
	},
	"crm's old consumer key, current and COMPROMISED": func(a *attack, begin func()) {
		old := a.key()
		a.rotateAndDeliver()
		begin()
		a.put(old, "guessed", "COMPROMISED", "")
		a.put(old, "guessed", "AWSCURRENT", "")
		a.rotateEvil()
	},
	"a version ID of crm's": func(a *attack, begin func()) {
		id := a.version("AWSCURRENT")
		begin()
		a.stepsOf(a.put(a.key(), "guessed", "AWSPENDING", id))
	},
}

// After an attack evil holds no credentials of crm, and crm's are what they were.
func TestSecretWriterCannotReachOtherApps(t *testing.T) {
	t.Parallel()
	for name, strike := range attacks {
		for variant := range 4 {
			adminApp, stored := variant&1 > 0, variant&2 > 0
			t.Run(fmt.Sprintf("%s, admin app %t, crm's secret is here %t", name, adminApp, stored), func(t *testing.T) {
				run(t, options{adminApp: adminApp}, func(t *testing.T, h *harness) {
					a := &attack{harness: h, own: h.Org.AddApp(sfoauthtest.AppOptions{Name: "Evil"})}
					permit(a.own.User)
					h.CreateSecret(evil, h.value(a.own, nil))
					h.enable(evil)
					h.deliver()
					if strings.Contains(name, "staged") || strings.Contains(name, "old consumer key") {
						permit(h.App.User)
					}
					strike(a, func() { a.begin(stored) })
					a.unharmed(t)
				})
			})
		}
	}
}

// holdings returns all credentials that Salesforce has for crm.
func (h *harness) holdings() []string {
	key, secret := h.App.Credentials()
	all := []string{secret, key}
	for _, p := range h.App.Staged() {
		all = append(all, p.Secret, p.Key, p.State)
	}
	return all
}

// unharmed checks that Salesforce has the same credentials for crm as before, and that evil holds none of them.
func (a *attack) unharmed(t *testing.T) {
	t.Helper()
	if !slices.Equal(a.holdings(), a.before) {
		t.Error("crm's credentials at Salesforce were changed")
	}
	secret, err := appsecret.Open(t.Context(), a.Secrets, simtest.Prefix, evil)
	a.Must(err)
	versions, err := secret.ReadAll(t.Context())
	a.Must(err)
	for _, version := range versions {
		if slices.Contains(a.holdings(), version.ConsumerSecret.Reveal()) {
			t.Errorf("evil's version %v holds a consumer secret of crm", secret.Labels[version.ID])
		}
	}
	a.noSecrets()
}

// A secret with all of crm's credentials can log in as crm does. It still must not get those that replace them.
func TestSharedConsumerIsRefused(t *testing.T) {
	runAll(t, options{adminApp: true}, map[string]bool{
		"primary credentials": false, "replaced credentials": true,
	}, func(t *testing.T, h *harness, rotateFirst bool) {
		a := &attack{harness: h, own: h.App}
		h.CreateSecret(evil, placeholder())
		key, secret := h.App.Credentials()
		if rotateFirst {
			h.rotateAndDeliver()
		}
		a.put(key, secret, "AWSCURRENT", "")
		h.deliver()
		before := h.Org.Stats().Calls
		a.rotateEvil()
		h.rotateAndDeliver()
		after := h.Org.Stats().Calls
		for _, change := range []sfoauthtest.Endpoint{sfoauthtest.Stage, sfoauthtest.Promote, sfoauthtest.Delete} {
			if after[change] != before[change] {
				t.Errorf("%s was called", change)
			}
		}
		h.logged(`"app":"evil"`, `"step":"createSecret"`, `"outcome":"failed"`,
			"secrets sftoken/evil and sftoken/crm hold credentials of the same Salesforce app")
		h.logged(`"app":"crm"`, `"step":"createSecret"`, `"outcome":"failed"`, "secrets sftoken/crm and sftoken/evil")
		h.checkCurrentWorks()
		h.noSecrets()
	})
}

// A secret that cannot be read for now may hold the same credentials.
func TestRotationWaitsUntilOtherSecretsAreReadable(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		h.CreateSecret(evil, placeholder())
		key := h.key()
		unavailable := localaws.Fault{Secret: evil, Code: "InternalServiceError", Status: 500}
		h.AWS.InjectFault("GetSecretValue", unavailable, 0)
		h.rotate()
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "looking for another secret with the same credentials")
		if n := h.Org.Stats().Calls[sfoauthtest.Stage]; n != 0 {
			t.Errorf("credentials were staged %d times", n)
		}
		h.AWS.ClearFaults()
		h.retry()
		h.checkRotated(key)
	})
}

// Credentials that a person makes in Setup are stored by that person, and never fetched from Salesforce.
func TestSetupCredentialsAreNotAdopted(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		key, secret := h.App.Regenerate()
		h.rotate()
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "sftoken secret stage crm")
		if h.at("AWSPENDING") != nil {
			t.Error("they were adopted")
		}
		h.abandon()
		h.enable(crm)
		h.store(key, secret, "CANDIDATE")
		h.deliver()
		h.rotate()
		h.checkRotated(key)
	})
}

func TestIDsOfAnotherApp(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		version, other := h.storeOther("AWSCURRENT", h.App.User) // and the IDs are still crm's
		h.deliver()
		h.rotate()
		h.labels("AWSCURRENT", version)
		if key, _ := other.Credentials(); text(h.at("AWSCURRENT"), "consumerKey") != key || h.at("AWSPENDING") != nil {
			t.Error("another app's credentials were adopted")
		}
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "belong to another app", "sftoken secret put crm")
		h.noSecrets()
	})
}

package rotation_test

import (
	"testing"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// In an emergency the new credentials may be wrong as well.
func TestCompromisedCredentialsNeverComeBack(t *testing.T) {
	runAll(t, options{}, map[string]func(h *harness){
		"the version before":                        (*harness).compromise,
		"another version with the same credentials": func(h *harness) { h.compromise(); h.storeSame("AWSCURRENT") },
	}, func(_ *testing.T, h *harness, mark func(h *harness)) {
		key := text(h.at("AWSCURRENT"), "consumerKey")
		mark(h)
		h.deliver()
		version := h.storeWrong("AWSCURRENT")
		h.deliver()
		h.labels("AWSCURRENT", version)
		h.logged(version, `"outcome":"stuck"`, "COMPROMISED")
		candidate := h.store(key, text(h.at("COMPROMISED"), "consumerSecret"), "CANDIDATE")
		h.deliver()
		h.labels("AWSCURRENT", version, "REJECTED", candidate)
	})
}

func TestCompromisedCredentialsWithAnotherBaseURI(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		current := h.version("AWSCURRENT")
		h.compromiseAndDeliver()
		h.storeValue("CANDIDATE", map[string]any{"baseUri": "HTTP://" + simtest.OrgHost})
		h.deliver()
		h.labels("AWSCURRENT", current)
	})
}

// Credentials that are current are not deleted as compromised ones whose baseUri is spelt in another way.
func TestCurrentCredentialsWithAnotherBaseURIAreNotDeleted(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		key, secret := h.App.Credentials()
		h.rotateAndDeliver()
		back := h.store(key, secret, "AWSCURRENT") // a person goes back to the credentials before, which still work
		h.deliver()
		h.storeValue("COMPROMISED", map[string]any{
			"consumerKey": key, "consumerSecret": secret, "baseUri": "HTTP://" + simtest.OrgHost,
		})
		h.deliver()
		h.labels("AWSCURRENT", back)
		h.checkCurrentWorks()
	})
}

func TestCompromisedCandidateIsNotTaken(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		h.compromise()
		h.storeSame("CANDIDATE")
		h.rotate()
		h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "COMPROMISED")
	})
}

// The version labelled COMPROMISED cannot be read for now, after the candidate was.
func TestUnreadableCompromisedVersion(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		current := h.version("AWSCURRENT")
		h.compromiseAndDeliver()
		candidate := h.storeSame("CANDIDATE")
		h.AWS.InjectFault("GetSecretValue", localaws.Fault{}, 1)
		h.failAWS("GetSecretValue", 3)
		h.deliver()
		h.logged(`"label":"CANDIDATE"`, `"outcome":"failed"`)
		h.labels("AWSCURRENT", current, "REJECTED", candidate) // by the retry
	})
}

func TestCompromisedCredentialsWithoutIDs(t *testing.T) {
	run(t, options{noIDs: true}, func(_ *testing.T, h *harness) {
		h.compromiseAndDeliver()
		h.storeOther("AWSCURRENT", h.App.User) // it works, and so do the compromised credentials
		h.deliver()
		h.logged(`"label":"AWSCURRENT"`, `"level":"WARN"`, "delete them in Setup")
	})
}

func TestPersonReplacesCompromisedCredentials(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		key, secret := h.App.Credentials()
		h.compromiseAndDeliver()
		staged := h.promote()
		h.store(staged.ConsumerKey, staged.ConsumerSecret.Reveal(), "AWSCURRENT")
		h.deliver()
		h.checkEnded(key, secret)
		h.checkCurrentWorks()
		h.logged(`"label":"AWSCURRENT"`, "deleted the compromised credentials")
	})
}

func TestMalformedCompromisedVersion(t *testing.T) {
	run(t, options{}, func(_ *testing.T, h *harness) {
		oldKey := h.key()
		h.Label("COMPROMISED", h.StoreText("not JSON", "OTHER"))
		h.deliver()
		h.rotate()
		h.checkRotated(oldKey)
		h.logged(`"step":"finishSecret"`, `"outcome":"ok"`)
		h.noDeadLetters()
	})
}

// The compromised credentials are still AWSCURRENT, though replaced at Salesforce: callers live on them.
func TestCompromisedCredentialsInUseAreNotDeleted(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		key, secret := h.App.Credentials()
		h.compromise()
		h.failAWS("UpdateSecretVersionStage", 3)
		h.rotate() // at Salesforce, and not here
		h.AWS.ClearFaults()
		h.deliver()
		if text(h.at("AWSCURRENT"), "consumerKey") != key {
			t.Error("AWSCURRENT was replaced")
		}
		h.checkCurrentWorks()
		h.retry()
		h.checkRotated(key)
		h.checkEnded(key, secret)
	})
}

// The event that finishSecret raises would delete them too. Where there is none, its retry does.
func TestDeletionOfCompromisedCredentialsIsRetried(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		key, secret := h.App.Credentials()
		h.compromise()
		h.Org.InjectFault(sfoauthtest.Delete, sfoauthtest.Unavailable(), 1)
		h.rotate()
		h.logged(`"step":"finishSecret"`, `"outcome":"failed"`, "deleting the compromised credentials")
		h.Must(h.step("finishSecret", h.version("AWSCURRENT")))
		h.checkEnded(key, secret)
		h.checkCurrentWorks()
	})
}

func TestRotationAfterEmergencyKeepsReplacedCredentials(t *testing.T) {
	run(t, options{adminApp: true}, func(t *testing.T, h *harness) {
		h.compromiseAndDeliver()
		h.rotateAndDeliver()
		key, secret := h.App.Credentials()
		h.rotateAndDeliver()
		h.checkRotated(key)
		if !h.Org.CanLogin(key, secret) {
			t.Error("the credentials before do not log in")
		}
	})
}

func TestCompromisedCredentialsInANewVersion(t *testing.T) {
	run(t, options{adminApp: true}, func(_ *testing.T, h *harness) {
		key, secret := h.App.Credentials()
		staged := h.stage()
		h.compromiseAndDeliver()
		h.fields["allowedPrincipals"] = []string{"222222222222"}
		h.storeSame("AWSCURRENT")
		h.deliver()
		h.rotateAndDeliver()
		h.checkRotated(key)
		h.checkEnded(key, secret)
		h.checkEnded(staged.Key, staged.Secret) // anyone with the compromised credentials may have read these
	})
}

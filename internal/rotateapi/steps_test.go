package rotateapi

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestSettings(t *testing.T) {
	runtime := map[string]string{"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "AWS_REGION": "us-east-1"}
	for setting, ok := range map[string]bool{
		"": true, "PROPAGATION=0s": true, "PROPAGATION=14m": true, "PROPAGATION=15m": false, "PROPAGATION=soon": false, "ADMIN_APP=admin": true, "ADMIN_APP=Admin": false,
		"SALESFORCE_HOSTS=http://x": false, "LOG_LEVEL=loud": false, "METRICS_NAMESPACE=a b": false, "SECRET_PREFIX=a b": false, "AWS_LAMBDA_RUNTIME_API=": false,
	} {
		env := maps.Clone(runtime)
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
		_, err := newHandler(t.Context(), func(n string) string { return env[n] }, "test")
		if (err == nil) != ok || err != nil && name != "AWS_LAMBDA_RUNTIME_API" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	var log localaws.SyncBuffer
	h := &Handler{Log: telemetry.New(&log, 0, "sftoken", "test")} // without a rotator
	_, err := h.Invoke(t.Context(), []byte(`{"Step":"createSecret","SecretId":"hush-hush","ClientRequestToken":"x","RotationToken":"hush-hush"}`))
	if err == nil || !strings.Contains(err.Error(), "its log says where") {
		t.Errorf("the answer is %v", err)
	}
	if text := log.String(); !strings.Contains(text, `"msg":"panic"`) || !strings.Contains(text, "steps.go") || !strings.Contains(text, `"RotationFailures":1`) || strings.Contains(text, "hush") {
		t.Errorf("the log says %s", text)
	}
}

func TestAWrongCandidateIsRefusedByTheRotationThatTakesIt(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		good := w.describe().VersionWithLabel("AWSCURRENT")
		candidate := w.store("3MVG9wrong", "wrong", "CANDIDATE") // its event is late
		w.must(w.rotate(""))
		s := w.describe()
		if !s.HasLabel(good, "AWSCURRENT") || s.HasLabel(candidate, "CANDIDATE") || s.VersionWithLabel("REJECTED") == "" || s.VersionWithLabel("AWSPENDING") != "" {
			t.Errorf("labels %v", s.Labels)
		}
		w.logged(t, `"step":"testSecret"`, `"outcome":"failed"`, `"CandidatesRefused":1`, `"salesforce_error":"invalid_client_id"`)
		w.deliver()
		w.must(w.rotate(""))
		w.logged(t, `"step":"createSecret"`, "sftoken secret stage crm") // a person is reminded again
		if !w.describe().HasLabel(good, "AWSCURRENT") || !w.logsIn("AWSCURRENT") {
			t.Errorf("labels %v", w.describe().Labels)
		}
	})
}

func TestATestOfTheCurrentPairRejectsNothing(t *testing.T) {
	for _, noIDs := range []bool{false, true} {
		inBubble(t, options{noIDs: noIDs}, func(t *testing.T, w *world) {
			before := w.describe()
			w.app.Regenerate() // and nobody has stored it: the test fails
			_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(crm), RotateImmediately: aws.Bool(false)})
			w.must(err)
			w.logged(t, `"step":"testSecret"`, `"outcome":"failed"`, "invalid_client_id")
			after := w.describe()
			if after.VersionWithLabel("AWSCURRENT") != before.VersionWithLabel("AWSCURRENT") || after.VersionWithLabel("REJECTED") != "" || after.VersionWithLabel("AWSPENDING") != "" || len(after.Labels) != len(before.Labels) {
				t.Errorf("labels %v, before %v", after.Labels, before.Labels)
			}
			if n := w.org.Stats().Calls[sfoauthtest.Stage]; n != 0 {
				t.Errorf("%d pairs were staged", n)
			}
		})
	}
}

func TestTheOnlyPairIsLeftAndItIsLoud(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.create("sftoken/erp", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost})
		w.deliver()
		w.logged(t, `"app":"erp"`, `"level":"ERROR"`, `"outcome":"stuck"`, "there is no other", `"salesforce_error":"invalid_client_id"`)
		if dead := w.bus.DeadLetters(); len(dead) != 0 {
			t.Errorf("%d dead letters: there is nothing to try again", len(dead))
		}
	})
}

func TestAnInvocationThatEndsBeforeThePairHasSettledConcludesNothing(t *testing.T) {
	for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
		inBubble(t, options{propagation: 20 * time.Minute}, func(t *testing.T, w *world) { // longer than Lambda lets it run
			good := w.describe().VersionWithLabel("AWSCURRENT")
			version := w.store("3MVG9wrong", "wrong", label)
			w.deliver()
			w.logged(t, `"outcome":"failed"`, "no time left to wait")
			if s := w.describe(); !s.HasLabel(version, "REJECTED") || !s.HasLabel(good, "AWSCURRENT") { // by the second try, when it has settled
				t.Errorf("labels %v", s.Labels)
			}
		})
	}
}

func TestASecretThatIsNoAppsIsLeftAlone(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		before := w.org.Stats().Logins.Attempts
		for _, name := range []string{"sftoken/team/crm", "sftoken/README", "other/crm"} {
			w.create(name, map[string]any{"consumerKey": "3MVG9wrong"})
		}
		w.deliver()
		if dead := w.bus.DeadLetters(); len(dead) != 0 || w.org.Stats().Logins.Attempts != before {
			t.Errorf("%d dead letters, %d logins", len(dead), w.org.Stats().Logins.Attempts-before)
		}
		w.logged(t, `"outcome":"ok"`, "sftoken/team/crm: it is not an app's")
	})
}

func TestAnUnknownStepIsNamed(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate(""))
		before := w.describe()
		if err := w.step("fetchSecret", before.VersionWithLabel("AWSPENDING")); err == nil || !strings.Contains(err.Error(), `unknown rotation step "fetchSecret"`) {
			t.Errorf("%v", err)
		}
		if after := w.describe(); after.VersionWithLabel("AWSPENDING") != before.VersionWithLabel("AWSPENDING") {
			t.Errorf("labels %v", after.Labels)
		}
	})
}

func TestAPairWithTheIDsOfAnotherAppIsLeftAlone(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		other := w.org.AddApp(sfoauthtest.AppOptions{Name: "ERP", RunAs: w.app.User})
		key, secret := other.Credentials()
		version := w.store(key, secret, "AWSCURRENT") // and the ids beside it are still CRM's
		w.deliver()
		w.must(w.rotate(""))
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || text(w.at("AWSCURRENT"), "consumerKey") != key || w.at("AWSPENDING") != nil {
			t.Errorf("the secret went over to another app: labels %v", s.Labels)
		}
		w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "belong to another app", "sftoken secret put crm")
		w.noSecrets()
	})
}

func TestALeakedPairThatOnlyAPersonCanDelete(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		w.compromise()
		w.deliver()
		other := w.org.AddApp(sfoauthtest.AppOptions{RunAs: w.app.User})
		key, secret := other.Credentials() // a pair that works, while the leaked one does too
		w.store(key, secret, "AWSCURRENT")
		w.deliver()
		w.logged(t, `"label":"AWSCURRENT"`, `"level":"WARN"`, "delete it in Setup")
	})
}

func TestALeakedPairThatAPersonReplacesIsDeleted(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		key, secret := w.app.Credentials()
		w.leak()
		pairs := w.pairs()
		staged, err := pairs.Stage(t.Context())
		w.must(err)
		w.must(pairs.Promote(t.Context(), staged.ID)) // the leaked pair works for 30 days more
		w.store(staged.ConsumerKey, staged.ConsumerSecret.Reveal(), "AWSCURRENT")
		w.deliver()
		if w.org.CanLogin(key, secret) || !w.logsIn("AWSCURRENT") {
			t.Errorf("the leaked pair logs in: %t; AWSCURRENT: %t\n%s", w.org.CanLogin(key, secret), w.logsIn("AWSCURRENT"), w.log.String())
		}
		w.logged(t, `"label":"AWSCURRENT"`, "deleted the leaked pair")
	})
}

func TestALeakedVersionThatDoesNotReadBlocksNoRotation(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.compromiseVersion(w.storeText("not JSON", "OTHER"))
		w.deliver()
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Error(err)
		}
		w.logged(t, `"step":"finishSecret"`, `"outcome":"ok"`)
		if dead := w.bus.DeadLetters(); len(dead) != 0 {
			t.Errorf("%d dead letters", len(dead))
		}
	})
}

// The first pair is made in Setup, and stored with the ids from which on Salesforce makes the next one.
func TestACandidateWithIDsThatARotationTakes(t *testing.T) {
	inBubble(t, options{noIDs: true, adminApp: true}, func(t *testing.T, w *world) {
		w.fields["appId"], w.fields["consumerId"] = w.app.ID, w.app.ConsumerID
		key, secret := w.app.Regenerate()
		w.store(key, secret, "CANDIDATE") // its event is late
		w.must(w.rotate(""))
		if err := w.rotated("none"); err != nil || text(w.at("AWSCURRENT"), "consumerKey") != key || w.at("CANDIDATE") != nil {
			t.Errorf("%v; labels %v\n%s", err, w.describe().Labels, w.log.String())
		}
		w.deliver()
		w.must(w.rotate(""))
		if err := w.rotated(key); err != nil {
			t.Error(err)
		}
	})
}

func TestThePlaceholderOverwritesNoPair(t *testing.T) {
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		w.store("replace-me", "replace-me", "AWSCURRENT")
		w.enable()
		key, secret := w.app.Credentials()
		version := w.store(key, secret, "CANDIDATE") // the first pair; its event is late
		w.aws.InjectFault("UpdateSecretVersionStage", localaws.Fault{Code: "InternalServiceError", Status: 500}, 3)
		w.must(w.rotate("")) // stores the placeholder as AWSPENDING, and is broken off
		w.aws.ClearFaults()
		w.deliver()
		if !w.describe().HasLabel(version, "AWSCURRENT") {
			t.Fatalf("labels %v", w.describe().Labels)
		}
		w.retry()
		w.logged(t, `"step":"finishSecret"`, `"outcome":"failed"`, "that change counts\"")
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("AWSPENDING") != "" {
			t.Errorf("labels %v", s.Labels)
		}
		w.must(w.rotate(""))
		if err := w.rotated(key); err != nil {
			t.Error(err)
		}
	})
}

func TestALoginThatMeetsAnotherIsTriedAgain(t *testing.T) {
	busy := sfoauthtest.ErrorResponse(400, "invalid_grant", "token request is already being processed")
	inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.org.InjectFault(sfoauthtest.Token, busy, 3)
		w.must(w.rotate(""))
		w.org.InjectFault(sfoauthtest.Token, busy, 3)
		w.deliver()
		if err := w.rotated(oldKey); err != nil || strings.Contains(w.log.String(), "RotationFailures") {
			t.Errorf("%v\n%s", err, w.log.String())
		}
		w.org.InjectFault(sfoauthtest.Token, busy, 0) // for ever
		w.must(w.rotate(""))
		w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "already being processed")
	})
}

// A finished rotation leaves AWSPENDING on the version that it made current. On any other one Secrets Manager takes it for a rotation
// that has not ended, and goes on with that instead of a new one. Source: Secrets Manager API Reference, RotateSecret.
func TestARotationAfterAPersonHasChangedWhatTheOneBeforeMade(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"by storing a pair": func(w *world) { key, secret := w.app.Regenerate(); w.store(key, secret, "AWSCURRENT") },
		"by staging a pair": func(w *world) { key, secret := w.app.Regenerate(); w.store(key, secret, "CANDIDATE") },
		"by storing who may have tokens": func(w *world) {
			w.fields["allowedPrincipals"] = []string{"222222222222"}
			key, secret := w.app.Credentials()
			w.store(key, secret, "AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{adminApp: true}, func(t *testing.T, w *world) {
				w.rotateOnce()
				change(w)
				w.deliver()
				key, _ := w.app.Credentials()
				w.must(w.rotate(""))
				if err := w.rotated(key); err != nil || strings.Contains(w.log.String(), "RotationFailures") {
					t.Errorf("%v; labels %v\n%s", err, w.describe().Labels, w.log.String())
				}
			})
		})
	}
}

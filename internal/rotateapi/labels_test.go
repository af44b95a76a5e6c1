package rotateapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestACandidateThatWorksBecomesCurrent(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		key, secret := w.app.Regenerate()
		version := w.store(key, secret, "CANDIDATE")
		w.deliver()
		s := w.describe()
		if !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("CANDIDATE") != "" || s.VersionWithLabel("REJECTED") != "" || !w.logsIn("AWSCURRENT") {
			t.Errorf("labels %v", s.Labels)
		}
		w.logged(t, "made the candidate AWSCURRENT", `"Rotations":1`)
	})
}

func TestACandidateThatIsRefusedChangesNothing(t *testing.T) {
	for name, break_ := range map[string]func(w *world) string{
		"wrong pair":  func(w *world) string { return w.store("3MVG9wrong", "wrong", "CANDIDATE") },
		"malformed":   func(w *world) string { return w.storeText(`{"consumerKey":"only"}`, "CANDIDATE") },
		"not JSON":    func(w *world) string { return w.storeText(`not JSON`, "CANDIDATE") },
		"placeholder": func(w *world) string { return w.store("replace-me", "replace-me", "CANDIDATE") },
		"another org": func(w *world) string { return w.storePinned("00Dxx0000000009") },
		"wrong host": func(w *world) string {
			return w.storeText(`{"consumerKey":"a","consumerSecret":"b","baseUri":"https://login.salesforce.com"}`, "CANDIDATE")
		},
		"wrong secret of a right key": func(w *world) string { key, _ := w.app.Credentials(); return w.store(key, "wrong", "CANDIDATE") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				before := w.describe().VersionWithLabel("AWSCURRENT")
				version := break_(w)
				w.deliver()
				s := w.describe()
				if !s.HasLabel(version, "REJECTED") || s.VersionWithLabel("CANDIDATE") != "" || s.VersionWithLabel("AWSCURRENT") != before {
					t.Errorf("labels %v", s.Labels)
				}
				w.logged(t, "refused the candidate", `"CandidatesRefused":1`)
				if name == "wrong pair" {
					w.logged(t, "refused the candidate", `"salesforce_error":"invalid_client_id"`)
				}
				w.noSecrets()
			})
		})
	}
}

func (w *world) storePinned(org string) string {
	key, secret := w.app.Credentials()
	text, err := json.Marshal(w.value(w.app, map[string]any{"orgId": org, "consumerKey": key, "consumerSecret": secret}))
	w.must(err)
	return w.storeText(string(text), "CANDIDATE")
}

// logged checks that the log has a line with all of the texts.
func (w *world) logged(t *testing.T, texts ...string) {
	t.Helper()
	for line := range strings.Lines(w.log.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			return
		}
	}
	t.Errorf("no line with %q in the log:\n%s", texts, w.log.String())
}

func TestAFrozenUsersTokenIsNoProof(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		other := w.org.AddApp(sfoauthtest.AppOptions{RunAs: w.org.AddUser(sfoauthtest.UserOptions{Frozen: true})})
		key, secret := other.Credentials()
		version := w.store(key, secret, "CANDIDATE")
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "REJECTED") || s.HasLabel(version, "AWSCURRENT") {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

func TestABadSecretOverAGoodOneIsRolledBack(t *testing.T) {
	for name, value := range map[string]string{
		"wrong pair": "", "not JSON": "oops", "placeholder": `{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				good := w.describe().VersionWithLabel("AWSCURRENT")
				var bad string
				if value == "" {
					bad = w.store("3MVG9wrong", "wrong", "AWSCURRENT")
				} else {
					bad = w.storeText(value, "AWSCURRENT")
				}
				w.deliver()
				s := w.describe()
				if !s.HasLabel(good, "AWSCURRENT") || !s.HasLabel(bad, "REJECTED") {
					t.Errorf("labels %v", s.Labels)
				}
				w.logged(t, "went back to version", `"RolledBack":1`)
				w.noSecrets()
			})
		})
	}
}

func TestAGoodSecretOverAGoodOneStays(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		key, secret := w.app.Regenerate()
		version := w.store(key, secret, "AWSCURRENT")
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("REJECTED") != "" {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

func TestWhereNeitherPairWorksNothingIsMovedAndItIsLoud(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.app.Regenerate() // and nobody has stored it
		version := w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		w.deliver()
		if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("REJECTED") != "" {
			t.Errorf("labels %v", s.Labels)
		}
		w.logged(t, `"level":"ERROR"`, `"outcome":"stuck"`, `"RotationFailures":1`)
	})
}

func TestASecretThatNobodyHasFilledInYetIsNoFailure(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		const name = "sftoken/fresh"
		placeholder := map[string]any{"consumerKey": "replace-me", "consumerSecret": "replace-me", "baseUri": "https://replace-me.my.salesforce.com"}
		w.create(name, placeholder)
		for range 2 { // made by a deployment; then rotated by schedule, which keeps the placeholder
			out, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(name)})
			w.must(err)
			_, err = w.invoke(t.Context(), fmt.Appendf(nil, `{"source":"aws.secretsmanager","detail-type":"Secret Label Updated",`+
				`"detail":{"name":%q,"labelUpdated":"AWSCURRENT","versionId":%q}}`, name, *out.VersionId))
			w.must(err)
			w.logged(t, `"app":"fresh"`, *out.VersionId, `"level":"WARN"`, `"outcome":"ok"`, "placeholder")
			_, err = w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(name), SecretString: out.SecretString})
			w.must(err)
		}
		if strings.Contains(w.log.String(), "RotationFailures") {
			t.Error("an alarm rings")
		}
	})
}

func TestAnOutageIsNeverTakenForARefusal(t *testing.T) {
	for _, fault := range []sfoauthtest.Fault{
		sfoauthtest.Maintenance(), sfoauthtest.Reset(), sfoauthtest.Hang(), sfoauthtest.Body("{}"), sfoauthtest.Redirect(302, ""),
		sfoauthtest.TooManyRequests(time.Minute, false), sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"), sfoauthtest.ErrorResponse(500, "server_error", ""),
	} {
		for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
			t.Run(fault.String()+" "+label, func(t *testing.T) {
				inBubble(t, options{}, func(t *testing.T, w *world) {
					before := w.describe().VersionWithLabel("AWSCURRENT")
					version := w.store("3MVG9wrong", "wrong", label)
					w.org.InjectFault(sfoauthtest.Token, fault, 0)
					w.deliver()
					s := w.describe()
					if !s.HasLabel(version, label) || s.VersionWithLabel("REJECTED") != "" || label == "CANDIDATE" && s.VersionWithLabel("AWSCURRENT") != before {
						t.Errorf("labels %v", s.Labels)
					}
					dead := w.bus.DeadLetters()
					if len(dead) != 1 {
						t.Fatalf("%d dead letters", len(dead))
					}
					w.org.ClearFaults() // and somebody sends the event again
					_, err := w.invoke(t.Context(), dead[0])
					w.must(err)
					if s := w.describe(); !s.HasLabel(version, "REJECTED") || !s.HasLabel(before, "AWSCURRENT") {
						t.Errorf("afterwards: labels %v", s.Labels)
					}
				})
			})
		}
	}
}

func TestANewPairIsWaitedFor(t *testing.T) {
	for _, label := range []string{"AWSCURRENT", "CANDIDATE"} {
		t.Run(label, func(t *testing.T) {
			o := options{org: sfoauthtest.Config{PropagationDelay: 8 * time.Minute}, propagation: 10 * time.Minute}
			inBubble(t, o, func(t *testing.T, w *world) {
				key, secret := w.app.Regenerate()
				version := w.store(key, secret, label)
				w.deliver()
				if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("REJECTED") != "" {
					t.Errorf("labels %v", s.Labels)
				}
			})
		})
	}
}

func TestEventsThatAreLateDoubledOrShuffledComeToRest(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.bus.Copies = 3
		w.bus.Shuffle = func(n int, swap func(i, j int)) {
			for i := range n / 2 {
				swap(i, n-1-i)
			}
		}
		good := w.describe().VersionWithLabel("AWSCURRENT")
		w.store("3MVG9wrong1", "wrong", "CANDIDATE")
		w.store("3MVG9wrong2", "wrong", "CANDIDATE")
		w.store("3MVG9wrong3", "wrong", "AWSCURRENT")
		w.deliver()
		if s := w.describe(); !s.HasLabel(good, "AWSCURRENT") || s.VersionWithLabel("CANDIDATE") != "" {
			t.Errorf("labels %v", s.Labels)
		}
		w.deliver()
	})
}

func TestStepsThatDoNotBelongChangeNothing(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		before := w.describe()
		current := before.VersionWithLabel("AWSCURRENT")
		steps := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
		for _, step := range steps {
			if err := w.step(step, "00000000-0000-4000-8000-000000000000"); err == nil || !strings.Contains(err.Error(), "is not AWSPENDING") {
				t.Errorf("%s with a foreign token: %v", step, err)
			}
			if err := w.step(step, current); err != nil {
				t.Errorf("%s of the version that is current: %v", step, err)
			}
		}
		other := w.store("3MVG9other", "other", "OTHER")
		for _, step := range steps {
			if err := w.step(step, other); err == nil || !strings.Contains(err.Error(), "not AWSPENDING") {
				t.Errorf("%s of a version that is not pending: %v", step, err)
			}
		}
		if err := w.step("fetchSecret", current); err != nil {
			t.Errorf("an unknown step of the version that is current: %v", err)
		}
		if n := w.org.Stats().Calls[sfoauthtest.Stage]; n != 0 {
			t.Errorf("%d pairs were staged", n)
		}
		_, err := w.secrets.CancelRotateSecret(t.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: aws.String(crm)})
		w.must(err)
		for _, step := range []string{"createSecret", "setSecret", "finishSecret"} {
			if err := w.step(step, current); err == nil || !strings.Contains(err.Error(), "not enabled for rotation") {
				t.Errorf("%s without rotation: %v", step, err)
			}
		}
		if after := w.describe(); after.VersionWithLabel("AWSCURRENT") != current {
			t.Errorf("labels %v", after.Labels)
		}
	})
}

func TestEveryStepTwiceAndOutOfOrder(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		// The first attempt dies in createSecret, so that the version is announced and has no value.
		w.breakOff(1, killedBefore)
		token := w.describe().VersionWithLabel("AWSPENDING")
		for _, step := range []string{"setSecret", "testSecret", "finishSecret"} {
			if err := w.step(step, token); err == nil {
				t.Errorf("%s before createSecret succeeds", step)
			}
		}
		for _, step := range []string{"createSecret", "createSecret", "testSecret", "setSecret", "setSecret", "testSecret", "createSecret", "finishSecret", "finishSecret", "createSecret", "testSecret"} {
			if err := w.step(step, token); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		if err := w.rotated(oldKey); err != nil {
			t.Error(err)
		}
		seen := w.org.Stats().Calls
		if seen[sfoauthtest.Stage] != 1 || seen[sfoauthtest.Promote] != 1 || seen[sfoauthtest.Delete] != 0 {
			t.Errorf("staged %d, rotated %d, deleted %d times", seen[sfoauthtest.Stage], seen[sfoauthtest.Promote], seen[sfoauthtest.Delete])
		}
	})
}

func TestAPairThatSomebodyLeftStagedIsAdopted(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.stageByHand()
		staged := w.app.Staged()[0]
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Error(err)
		}
		if key, _ := w.app.Credentials(); key != staged.Key || w.org.Stats().Calls[sfoauthtest.Stage] != 1 {
			t.Error("another pair was staged")
		}
	})
}

func TestAPairThatWasLostAtSalesforceDoesNotBlockTheNextRotation(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		oldKey, _ := w.app.Credentials()
		w.org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate("")) // staged, stored, tested, not finished
		time.Sleep(31 * 24 * time.Hour)
		_ = w.rotate("") // the staged pair has expired
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil {
			t.Error(err)
		}
	})
}

func TestAnAppThatCannotMakeItsOwnPair(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		w.must(w.rotate(""))
		w.logged(t, "sftoken secret stage crm", `"RotationFailures":1`)
		w.giveUpToken()
		w.enable()
		key, secret := w.app.Regenerate()
		version := w.store(key, secret, "CANDIDATE") // its event is late
		w.must(w.rotate(""))
		s := w.describe()
		if !w.logsIn("AWSCURRENT") || text(w.at("AWSCURRENT"), "consumerKey") != key || s.HasLabel(version, "CANDIDATE") {
			t.Errorf("labels %v", s.Labels)
		}
		w.deliver()
		if !w.logsIn("AWSCURRENT") {
			t.Error("the late event has broken it")
		}
	})
}

func TestAPersonWhoWritesWhileARotationRunsWins(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate(""))
		token := w.describe().VersionWithLabel("AWSPENDING")
		key, secret := w.app.Credentials()
		version := w.store(key, secret, "AWSCURRENT")
		if err := w.step("finishSecret", token); err == nil || !strings.Contains(err.Error(), "somebody wrote the secret") {
			t.Errorf("finishSecret: %v", err)
		}
		if !w.describe().HasLabel(version, "AWSCURRENT") {
			t.Error("the person's version is not current")
		}
		w.must(w.rotate(""))
		if err := w.rotated(key); err != nil {
			t.Error(err)
		}
	})
}

func TestACandidateThatOvertakesARotationIsNotOverwritten(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.fields["allowedPrincipals"] = []string{"222222222222"} // the same pair for fewer callers
		oldKey, oldSecret := w.app.Credentials()
		version := w.store(oldKey, oldSecret, "CANDIDATE") // its event is late
		w.org.InjectFault(sfoauthtest.Promote, sfoauthtest.Unavailable(), 1)
		w.must(w.rotate("")) // staged, stored, tested, not finished
		w.deliver()
		if !w.describe().HasLabel(version, "AWSCURRENT") {
			t.Fatalf("labels %v", w.describe().Labels)
		}
		w.retry()
		w.logged(t, `"step":"finishSecret"`, `"outcome":"failed"`, "was changed while its pair was being rotated")
		if !w.describe().HasLabel(version, "AWSCURRENT") {
			t.Error("the change is lost")
		}
		w.must(w.rotate(""))
		if err := w.rotated(oldKey); err != nil || fmt.Sprint(w.at("AWSCURRENT")["allowedPrincipals"]) != "[222222222222]" {
			t.Errorf("%v; allowedPrincipals %v", err, w.at("AWSCURRENT")["allowedPrincipals"])
		}
		if n := w.org.Stats().Calls[sfoauthtest.Stage]; n != 1 {
			t.Errorf("%d pairs were staged: the first one is to be adopted", n)
		}
	})
}

func TestThePlaceholderPassesWithAWarning(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.storeText(`{"consumerKey":"replace-me","consumerSecret":"replace-me","baseUri":"https://replace-me.my.salesforce.com"}`, "AWSCURRENT")
		w.enable()
		w.logged(t, `"step":"testSecret"`, `"outcome":"ok"`, "sftoken secret put crm")
		w.must(w.rotate(""))
		w.logged(t, `"step":"finishSecret"`, `"outcome":"ok"`)
	})
}

func TestPermissionsThatAreMissingAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		options options
		change  func(w *world)
		says    string
	}{
		"no permission": {options{}, func(w *world) {
			w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.ViewClientSecret = false })
		}, "403"},
		"toggle off": {options{org: sfoauthtest.Config{RESTSecretsDisabled: true}}, nil, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.options, func(t *testing.T, w *world) {
				if c.change != nil {
					c.change(w)
				}
				w.must(w.rotate(""))
				if !w.logsIn("AWSCURRENT") {
					t.Error("AWSCURRENT does not log in")
				}
				w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "External Client App Developer")
			})
		})
	}
}

func TestEventsOfAnotherKindAreNamed(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		for payload, want := range map[string]string{
			`{}`: "an event without fields", `null`: "an event without fields", `[]`: "not a JSON object", `x`: "not a JSON object",
			`{"httpMethod":"GET","body":"hush"}`:                                         `"body", "httpMethod"`,
			`{"Step":"createSecret"}`:                                                    `"Step"`,
			`{"source":"aws.secretsmanager","detail-type":"Secret Label Updated"}`:       "does not name a secret",
			`{"source":"aws.s3","detail-type":"Object Created","detail":{}}`:             `"source"`,
			`{"Step":"createSecret","SecretId":"other/secret","ClientRequestToken":"x"}`: "ResourceNotFoundException",
			`{"source":"aws.secretsmanager","detail-type":"Secret Label Updated","detail":{"name":"sftoken/nosuch","labelUpdated":"AWSCURRENT","versionId":"x"}}`: "ResourceNotFoundException",
		} {
			_, err := w.invoke(t.Context(), []byte(payload))
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v, want %q", payload, err, want)
			}
			var line map[string]any
			if lines := w.log.Lines(); json.Unmarshal([]byte(lines[len(lines)-1]), &line) != nil || line["outcome"] != "failed" || line["cause"] != err.Error() {
				t.Errorf("%s: the log says %v", payload, line)
			}
		}
	})
}

func TestTheDailyCheckChangesNothing(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.create("sftoken/broken", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost})
		w.create("sftoken/empty", map[string]any{"consumerKey": "replace-me", "consumerSecret": "replace-me", "baseUri": "http://" + orgHost})
		w.create("other/secret", map[string]any{"not": "ours"})
		w.create("sftoken/team/other", map[string]any{"not": "an app's"})
		_, err := w.secrets.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
			SecretId: aws.String(crm), RotateImmediately: aws.Bool(false), RotationRules: rulesOf("rate(30 days)"),
		})
		w.must(err)
		time.Sleep(33 * 24 * time.Hour)
		calls := w.aws.Calls()
		_, err = w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
		w.must(err)
		w.logged(t, `"msg":"check"`, `"app":"crm"`, `"outcome":"ok"`, `"RotationOverdue":1`, `"PairAge":28512`)
		w.logged(t, `"app":"broken"`, `"login_failed"`, "invalid_client_id", `"LoginFailed":1`)
		w.logged(t, `"app":"empty"`, `"level":"WARN"`, `"outcome":"ok"`, "sftoken secret put empty")
		for _, line := range w.log.Lines() {
			if strings.Contains(line, `"app":"empty"`) && (strings.Contains(line, "LoginFailed") || strings.Contains(line, "PairAge")) {
				t.Errorf("an alarm rings over the placeholder, or its age passes for a pair's: %s", line)
			}
		}
		if strings.Contains(w.log.String(), "other") {
			t.Error("a secret outside the prefix was looked at")
		}
		for _, operation := range []string{"PutSecretValue", "UpdateSecretVersionStage"} {
			if after := w.aws.Calls()[operation]; after != calls[operation] {
				t.Errorf("%s was called", operation)
			}
		}
		w.noSecrets()
	})
}

func TestTheDailyCheckTellsAnOutageFromARefusal(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(w *world)
		says   []string
	}{
		"Salesforce is down":   {func(w *world) { w.org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0) }, []string{`"not_checked"`, `"level":"WARN"`, `"PairAge"`}},
		"the REST API is down": {func(w *world) { w.org.InjectFault(sfoauthtest.REST, sfoauthtest.Reset(), 0) }, []string{`"not_checked"`}},
		"too many logins": {func(w *world) {
			w.org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "login rate exceeded"), 0)
		}, []string{`"not_checked"`, `"salesforce_error":"invalid_grant"`}},
		"Secrets Manager is down": {func(w *world) {
			w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
		}, []string{`"not_checked"`}},
		"Secrets Manager tells nothing": {func(w *world) {
			w.aws.InjectFault("DescribeSecret", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
		}, []string{`"not_checked"`}},
		"the pair is too new": {func(w *world) {
			key, secret := w.app.Regenerate()
			w.store(key, secret, "AWSCURRENT")
			w.org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_client_id", "client identifier invalid"), 0)
		}, []string{`"not_checked"`, `"salesforce_error":"invalid_client_id"`}},
		"the secret cannot be read":       {func(w *world) { w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: "AccessDeniedException"}, 0) }, []string{`"login_failed"`, `"LoginFailed":1`}},
		"the answer is not trusted":       {func(w *world) { w.org.InjectFault(sfoauthtest.Token, sfoauthtest.WrongSignature(), 0) }, []string{`"login_failed"`, `"LoginFailed":1`}},
		"the user has been made inactive": {func(w *world) { w.app.User.Change(func(u *sfoauthtest.UserOptions) { u.Inactive = true }) }, []string{`"login_failed"`, `"LoginFailed":1`, `"salesforce_error":"invalid_grant"`}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
				time.Sleep(time.Hour)
				c.break_(w)
				_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
				w.must(err)
				w.logged(t, append(c.says, `"msg":"check"`, `"app":"crm"`)...)
				if described := !strings.Contains(name, "tells nothing"); strings.Contains(w.log.String(), "RotationOverdue") != described {
					t.Errorf("RotationOverdue is in the line: %t", !described)
				}
				if strings.Contains(w.log.String(), `"PairAge":0`) || strings.Contains(w.log.String(), "not_checked") && strings.Contains(w.log.String(), "LoginFailed") {
					t.Error("a number that is not known is in the line")
				}
			})
		})
	}
}

func TestAnAppThatDoesNotAnswerKeepsNoOtherFromBeingChecked(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.create("sftoken/aa", w.value(w.app, nil))
		w.create("sftoken/zz", map[string]any{"consumerKey": "3MVG9wrong", "consumerSecret": "wrong", "baseUri": "http://" + orgHost})
		w.aws.InjectFault("DescribeSecret", localaws.Fault{Secret: "sftoken/aa", Hang: true}, 0)
		_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
		w.must(err)
		w.logged(t, `"app":"aa"`, `"not_checked"`)
		w.logged(t, `"app":"crm"`, `"outcome":"ok"`)
		w.logged(t, `"app":"zz"`, `"LoginFailed":1`)
	})
}

func TestAnEventThatIsLateIsNotActedOn(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.store("3MVG9wrong1", "wrong", "CANDIDATE")
		last := w.store("3MVG9wrong2", "wrong", "CANDIDATE")
		logins := w.org.Stats().Calls[sfoauthtest.Token]
		w.deliver()
		w.logged(t, `"label":"CANDIDATE"`, "the label has moved on")
		if n := w.org.Stats().Calls[sfoauthtest.Token] - logins; n != 1 || !w.describe().HasLabel(last, "REJECTED") {
			t.Errorf("%d logins", n)
		}
	})
}

package rotateapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// storeValue writes a version of crm with crm's fields and these, where nil leaves one out.
func (w *world) storeValue(label string, fields map[string]any) string {
	w.t.Helper()
	value := w.value(w.app, w.fields)
	for name, field := range fields {
		if field == nil {
			delete(value, name)
		} else {
			value[name] = field
		}
	}
	text, err := json.Marshal(value)
	w.must(err)
	return w.storeText(string(text), label)
}

// A version that restricts callers is not rolled back to one that lets in more of them, whatever else is wrong with it.
func TestARestrictionIsNotRolledBack(t *testing.T) {
	const account, role = "222222222222", "arn:aws:iam::222222222222:role/billing"
	for _, test := range []struct {
		name          string
		before, after map[string]any
		stays         bool
	}{
		{"a list, and wrong credentials", nil, map[string]any{"allowedPrincipals": []string{account}, "consumerSecret": "wrong"}, true},
		{"the same list, and wrong credentials", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"allowedPrincipals": []string{account}, "consumerSecret": "wrong"}, false},
		{"a shorter list, and wrong credentials", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"allowedPrincipals": []string{role}, "consumerSecret": "wrong"}, true},
		{"a longer list, and wrong credentials", map[string]any{"allowedPrincipals": []string{role}}, map[string]any{"allowedPrincipals": []string{account}, "consumerSecret": "wrong"}, false},
		{"no list, and wrong credentials", map[string]any{"allowedPrincipals": []string{role}}, map[string]any{"consumerSecret": "wrong"}, false},
		{"a malformed list", nil, map[string]any{"allowedPrincipals": "222222222222"}, true},
		{"a malformed list over a good one", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"allowedPrincipals": []string{"2222"}}, true},
		{"a malformed list, and wrong credentials", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"allowedPrincipals": []string{"2222"}, "consumerSecret": "wrong"}, true},
		{"a misspelt list", nil, map[string]any{"allowedPrincipal": []string{account}}, true},
		{"a misspelt list over a good one", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"AllowedPrincipals": []string{role}}, true},
		{"a list without credentials", nil, map[string]any{"allowedPrincipals": []string{account}, "consumerSecret": nil}, true},
		{"the same list without credentials", map[string]any{"allowedPrincipals": []string{account}}, map[string]any{"allowedPrincipals": []string{account}, "consumerSecret": nil}, false},
		{"a misspelt pin", nil, map[string]any{"orgID": "00Dxx0000000001"}, false}, // it keeps no caller out
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				before := w.storeValue("AWSCURRENT", test.before)
				w.deliver()
				after := w.storeValue("AWSCURRENT", test.after)
				w.deliver()
				s := w.describe()
				if want := map[bool]string{true: after, false: before}[test.stays]; !s.HasLabel(want, "AWSCURRENT") {
					t.Errorf("labels %v, before %s\n%s", s.Labels, before, w.log.String())
				}
				if strings.HasPrefix(test.name, "a malformed list") {
					w.logged(t, `"app":"crm"`, after, `"level":"ERROR"`, `"PrincipalsUnreadable":1`, "allowedPrincipals: ")
				} else if test.stays {
					w.logged(t, after, `"outcome":"stuck"`, `"RotationFailures":1`, "allowedPrincipals")
				}
				w.noSecrets()
			})
		})
	}
}

func TestACandidateThatWouldDenyEveryoneIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options options
		rotate  bool
	}{"by its event": {options{}, false}, "by a rotation": {options{noIDs: true}, true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.options, func(t *testing.T, w *world) {
				before := w.describe().VersionWithLabel("AWSCURRENT")
				key, secret := w.app.Credentials()
				version := w.storeValue("CANDIDATE", map[string]any{"consumerKey": key, "consumerSecret": secret, "allowedPrincipals": []string{"2222"}})
				if c.rotate {
					w.must(w.rotate(""))
					w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "would deny every caller")
				}
				w.deliver()
				if s := w.describe(); !s.HasLabel(before, "AWSCURRENT") || !s.HasLabel(version, "REJECTED") {
					t.Errorf("labels %v", s.Labels)
				}
			})
		})
	}
}

func TestTheDailyCheckReportsAListThatCannotBeRead(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.storeValue("AWSCURRENT", map[string]any{"allowedPrincipals": []string{"2222"}})
		for range 2 { // a check that is skipped reports it too
			_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
			w.must(err)
			lines := w.log.Lines()
			if line := lines[len(lines)-2]; !strings.Contains(line, `"msg":"check"`) || !strings.Contains(line, `"PrincipalsUnreadable":1`) {
				t.Errorf("the line is %s", line)
			}
		}
	})
}

// A session that ends between the login and the call that tries it says nothing about the credentials.
func TestASessionThatEndsIsNoRefusal(t *testing.T) {
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		for _, times := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, %d sessions", label, times), func(t *testing.T) {
				inBubble(t, options{}, func(t *testing.T, w *world) {
					key, secret := w.app.Regenerate()
					version := w.store(key, secret, label)
					w.org.InjectFault(sfoauthtest.Token, sfoauthtest.EndSession(), times)
					w.deliver()
					if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") || s.VersionWithLabel("REJECTED") != "" {
						t.Errorf("labels %v\n%s", s.Labels, w.log.String())
					}
				})
			})
		}
	}
}

// In an emergency the new credentials may be wrong as well. The compromised ones never come back.
func TestCompromisedCredentialsNeverComeBack(t *testing.T) {
	for name, mark := range map[string]func(w *world){
		"the version before": func(w *world) { w.compromise() },
		"another version with the same credentials": func(w *world) {
			w.compromise()
			key, secret := w.app.Credentials()
			w.store(key, secret, "AWSCURRENT")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				leaked := text(w.at("AWSCURRENT"), "consumerKey")
				mark(w)
				w.deliver()
				version := w.store("3MVG9wrong", "wrong", "AWSCURRENT")
				w.deliver()
				if s := w.describe(); !s.HasLabel(version, "AWSCURRENT") {
					t.Errorf("labels %v\n%s", s.Labels, w.log.String())
				}
				w.logged(t, version, `"outcome":"stuck"`, "COMPROMISED")
				key, secret := leaked, text(w.at("COMPROMISED"), "consumerSecret")
				candidate := w.store(key, secret, "CANDIDATE")
				w.deliver()
				if s := w.describe(); s.HasLabel(candidate, "AWSCURRENT") || !s.HasLabel(candidate, "REJECTED") {
					t.Errorf("as a candidate: labels %v", s.Labels)
				}
			})
		})
	}
}

func TestACompromisedCandidateIsNotTakenByARotation(t *testing.T) {
	inBubble(t, options{noIDs: true}, func(t *testing.T, w *world) {
		w.compromise()
		key, secret := w.app.Credentials()
		w.store(key, secret, "CANDIDATE")
		w.must(w.rotate(""))
		w.logged(t, `"step":"createSecret"`, `"outcome":"failed"`, "COMPROMISED")
	})
}

// Salesforce documents neither what it answers where nothing is staged, nor which secret signs.
func TestARotationWhateverSalesforceLeavesOpen(t *testing.T) {
	for name, config := range map[string]sfoauthtest.Config{
		"404 where nothing is staged":    {EmptyStagedNotFound: true},
		"the primary credentials sign":   {SignWithPrimary: true},
		"both":                           {EmptyStagedNotFound: true, SignWithPrimary: true},
		"staged ones that do not log in": {EmptyStagedNotFound: true, SignWithPrimary: true, StagedCannotLogIn: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{org: config}, func(t *testing.T, w *world) {
				for range 3 {
					oldKey, _ := w.app.Credentials()
					w.rotateOnce()
					if err := w.rotated(oldKey); err != nil {
						t.Fatalf("%v\n%s", err, w.log.String())
					}
				}
				if config.SignWithPrimary && !config.StagedCannotLogIn {
					w.logged(t, `"step":"testSecret"`, `"outcome":"ok"`, `"level":"WARN"`, "signature")
				}
			})
		})
	}
}

// A server that does not know yet what another has stored does not end a rotation.
func TestAStaleAnswerDoesNotAbandonARotation(t *testing.T) {
	for name, c := range map[string]struct {
		answer sfoauthtest.Fault
		times  int
		after  int // how many reads are answered well before
	}{
		"setSecret reads an empty list":               {sfoauthtest.Body(`{"stagedCredentials":[]}`), 1, 1},
		"setSecret reads an empty list several times": {sfoauthtest.Body(`{"stagedCredentials":[]}`), 5, 1},
		"setSecret gets 404":                          {sfoauthtest.ErrorResponse(404, "NOT_FOUND", "The requested resource does not exist"), 2, 1},
		"finishSecret reads an empty list":            {sfoauthtest.Body(`{"stagedCredentials":[]}`), 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{propagation: 10 * time.Minute}, func(t *testing.T, w *world) {
				oldKey, _ := w.app.Credentials()
				reads := 0
				w.watchOrg = func(call sfoauthtest.Call) {
					if call.Endpoint == sfoauthtest.ListStaged && call.Phase == sfoauthtest.Done {
						if reads++; reads == c.after {
							w.org.InjectFault(sfoauthtest.ListStaged, c.answer, c.times)
						}
					}
				}
				w.must(w.rotate(""))
				if err := w.rotated(oldKey); err != nil || strings.Contains(w.log.String(), "RotationFailures") {
					t.Errorf("%v\n%s", err, w.log.String())
				}
			})
		})
	}
}

// A frozen user, or sessions that are locked to an address, have an alarm of their own.
func TestARunAsUserThatIsBlocked(t *testing.T) {
	for name, block := range map[string]func(*sfoauthtest.UserOptions){
		"frozen": func(u *sfoauthtest.UserOptions) { u.Frozen = true }, "locked to an address": func(u *sfoauthtest.UserOptions) { u.SessionsLocked = true },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				w.app.User.Change(block)
				_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
				w.must(err)
				w.logged(t, `"msg":"check"`, `"outcome":"login_failed"`, `"RunAsUserBlocked":1`, "This session is not valid for use with the REST API")
			})
		})
	}
}

func TestARenamedMyDomainIsNamed(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		w.org.Rename("https://renamed.my.salesforce.com")
		_, err := w.invoke(t.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
		w.must(err)
		w.logged(t, `"msg":"check"`, "https://renamed.my.salesforce.com")
	})
}

// recorder is a Secrets Manager that keeps what it was sent.
type recorder struct {
	appsecret.Client
	puts []*secretsmanager.PutSecretValueInput
}

func (r *recorder) PutSecretValue(ctx context.Context, in *secretsmanager.PutSecretValueInput, o ...func(*secretsmanager.Options)) (*secretsmanager.PutSecretValueOutput, error) {
	r.puts = append(r.puts, in)
	return r.Client.PutSecretValue(ctx, in, o...)
}

// Source: Secrets Manager API Reference, PutSecretValue: a function that has a RotationToken must pass it back.
func TestTheRotationTokenIsPassedBack(t *testing.T) {
	for _, token := range []string{rotationToken, ""} {
		inBubble(t, options{}, func(t *testing.T, w *world) {
			w.breakOff(1, killedBefore) // AWSPENDING is announced, and has no value
			client := &recorder{Client: w.secrets}
			r := &rotation.Rotator{
				Secrets: client, Lister: w.secrets, Prefix: "sftoken/", Hosts: sfoauth.AllowedHosts{orgHost}, HTTPClient: w.network.Client(), Logins: loginbudget.New(0, 0),
			}
			t.Cleanup(r.HTTPClient.CloseIdleConnections)
			_, err := r.Step(t.Context(), rotation.Step{Name: "createSecret", SecretID: crm, VersionID: w.describe().VersionWithLabel("AWSPENDING"), RotationToken: token})
			w.must(err)
			if len(client.puts) != 1 || aws.ToString(client.puts[0].RotationToken) != token || (client.puts[0].RotationToken == nil) != (token == "") {
				t.Errorf("%d values were stored, the first with the right token: %t", len(client.puts), len(client.puts) > 0)
			}
		})
	}
}

// Two events of one roll-back at the same time end in the same state.
func TestARollBackThatIsRepeated(t *testing.T) {
	inBubble(t, options{}, func(t *testing.T, w *world) {
		good := w.describe().VersionWithLabel("AWSCURRENT")
		bad := w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		w.bus.Copies = 3
		var both sync.WaitGroup
		for range 3 {
			both.Go(w.deliver)
		}
		both.Wait()
		if s := w.describe(); !s.HasLabel(good, "AWSCURRENT") || !s.HasLabel(bad, "REJECTED") {
			t.Errorf("labels %v", s.Labels)
		}
	})
}

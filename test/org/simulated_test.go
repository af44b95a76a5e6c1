package org

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// The answers of an org with Salesforce's defaults. Those of the other orgs differ where it says so.
var usual = map[string]string{
	tokenFormat:      "opaque",
	sessionTimeout:   "2h0m0s",
	secondLogin:      "no: the token is another",
	stagedLogin:      "yes",
	stagedSigner:     "the staged secret",
	sessionSurvives:  "yes",
	introspectsOld:   "yes",
	rotatedEntry:     `credentials of state "Rotated", which expire in 30 days`,
	oldLogin:         "yes",
	oldSigner:        "the old secret",
	revokeOld:        "HTTP 200, and the REST API rejects the token",
	revokePrimary:    "HTTP 200, and the REST API rejects the token",
	revokeEndsOthers: "no",
	revokeAgain:      `HTTP 400 "invalid_token", and the REST API rejects the token`,
	deletedSession:   "yes",
	emptyStaged:      `HTTP 200 with an object "stagedCredentials"=[] "url"`,
	deletedLogin:     `no: salesforce token at HOST: invalid_client_id: client identifier invalid`,
	vendRevoke:       "yes",
}

const unsupported = `HTTP 400 "unsupported_token_type", and the REST API accepts the token`

func TestAnswersDependOnTheOrg(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options
		answers map[string]string // those that differ; empty: not asked
	}{
		"defaults":  {},
		"admin app": {options: options{adminApp: true}},
		"JWT": {
			options: options{app: sfoauthtest.AppOptions{JWT: true}},
			answers: map[string]string{tokenFormat: `JWT, alg "RS256"`, sessionTimeout: "30m0s"},
		},
		"JWT that cannot be revoked": {
			options: options{
				app: sfoauthtest.AppOptions{JWT: true, JWTLifetime: time.Hour},
				prepare: func(s *target) {
					s.org.InjectFault(sfoauthtest.Revoke, sfoauthtest.ErrorResponse(400, "unsupported_token_type", "no"), 0)
				},
			},
			answers: map[string]string{
				tokenFormat: `JWT, alg "RS256"`, sessionTimeout: "1h0m0s", revokeOld: unsupported, revokePrimary: unsupported,
				revokeAgain: unsupported, vendRevoke: "it vends, and does not revoke: ANY",
			},
		},
		"one session": {
			options: options{org: sfoauthtest.Config{SharedSessions: true, SessionTimeout: 15 * time.Minute}},
			answers: map[string]string{
				sessionTimeout: "15m0s", secondLogin: "yes: the token is the same", revokeEndsOthers: "yes",
			},
		},
		"the primary secret signs": {
			options: options{org: sfoauthtest.Config{SignWithPrimary: true}},
			answers: map[string]string{stagedSigner: "the primary secret", oldSigner: "the primary secret"},
		},
		"staged credentials do not log in; empty /staged is 404": {
			options: options{org: sfoauthtest.Config{StagedCannotLogIn: true, EmptyStagedNotFound: true}},
			answers: map[string]string{stagedLogin: usual[deletedLogin], stagedSigner: "", emptyStaged: `HTTP 404 "NOT_FOUND"`},
		},
		"flat responses": {
			options: options{org: sfoauthtest.Config{FlatStaged: true}},
			answers: map[string]string{emptyStaged: "HTTP 200 with an object"},
		},
		"a rotation ends sessions and old credentials": {
			options: options{onPromote: func(s *target) {
				admin := &sfoauth.Client{BaseURL: s.server.URL, AllowedHosts: sfoauth.AllowedHosts{s.server.URL[len("http://"):]}}
				token := &sfoauth.Token{AccessToken: sfoauth.NewSecret(s.app.NewToken())}
				err := admin.StagedCredentials(token, s.app.ID, s.app.ConsumerID).Delete(context.Background(), s.app.Staged()[0].ID)
				if err != nil {
					s.Error(err)
				}
				s.org.RevokeAll()
			}},
			answers: map[string]string{
				sessionSurvives: `no: salesforce REST API at HOST: INVALID_SESSION_ID: Session expired or invalid`,
				introspectsOld:  "", rotatedEntry: "nothing", oldLogin: usual[deletedLogin], oldSigner: "", deletedSession: "",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTarget(t, c.options)
			output := s.complete()
			for question, want := range usual {
				if differs, ok := c.answers[question]; ok {
					want = differs
				}
				want = strings.ReplaceAll(want, "HOST", strings.TrimPrefix(s.server.URL, "http://"))
				want, isPrefix := strings.CutSuffix(want, "ANY")
				line := "\n" + question + ": " + want
				if want == "" && strings.Contains(output, line) || want != "" && !strings.Contains(output, line) ||
					want != "" && !isPrefix && !strings.Contains(output, line+"\n") {
					t.Errorf("%s: want %q", question, want)
				}
			}
			if t.Failed() {
				t.Log(output)
			}
		})
	}
}

// TestKilledRunLosesNoCredentials kills a run before and after each of its calls to Salesforce, and the next run one
// call earlier. A sample has those that change credentials, and some others.
func TestKilledRunLosesNoCredentials(t *testing.T) {
	t.Parallel()
	var calls []sfoauthtest.Call
	s := newTarget(t, options{})
	s.run(s.confirmation(), func(c sfoauthtest.Call) bool { calls = append(calls, c); return false })
	if len(calls) < 60 {
		t.Fatalf("a run makes only %d calls", len(calls)/2)
	}
	for i, call := range calls {
		changes := slices.Contains([]sfoauthtest.Endpoint{"stage", "promote", "delete"}, call.Endpoint)
		if simtest.Sampled() && i%20 != 0 && !changes {
			continue
		}
		t.Run(fmt.Sprintf("%d, %s, %s", i, call.Endpoint, call.Phase), func(t *testing.T) {
			t.Parallel()
			s := newTarget(t, options{})
			for _, last := range []int{i, max(i-1, 0)} {
				seen := -1
				output, err := s.run(s.confirmation(), func(sfoauthtest.Call) bool { seen++; return seen >= last })
				if err == nil {
					t.Errorf("it was not killed at call %d\n%s", last, output)
				}
				if len(s.holders()) == 0 {
					t.Errorf("killed at call %d: the file does not have the primary credentials", last)
				}
			}
			s.complete()
		})
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options
		confirmation func(*target) string
		want         string
	}{
		"without a confirmation": {
			confirmation: func(*target) string { return "" }, want: "hint: if that is what you want, set " + confirmVar + "=00D",
		},
		"another app": {
			confirmation: func(s *target) string { return s.org.ID() + "/0xI000000000000AAA" }, want: "this test changes",
		},
		"a production org": {
			options:      options{org: sfoauthtest.Config{OrganizationType: "Enterprise Edition"}},
			confirmation: (*target).confirmation, want: "/production",
		},
		"an org that does not say what it is": {
			options: options{prepare: func(s *target) {
				s.org.InjectFault(sfoauthtest.REST, sfoauthtest.ErrorResponse(400, "INVALID_TYPE", "no"), 1)
			}},
			confirmation: (*target).confirmation, want: "cannot tell whether this is a production org",
		},
		"a file without the primary credentials": {
			options: options{prepare: func(s *target) {
				staged := &sfoauth.Token{AccessToken: sfoauth.NewSecret(s.app.NewToken())}
				admin := (&sfoauth.Client{
					BaseURL: s.server.URL, AllowedHosts: sfoauth.AllowedHosts{s.server.URL[len("http://"):]},
				}).StagedCredentials(staged, s.app.ID, s.app.ConsumerID)
				made, err := admin.Stage(s.Context())
				s.must(err)
				s.must(admin.Promote(s.Context(), made.ID))
				s.org.ResetStats()
			}},
			confirmation: (*target).confirmation, want: "the app's primary credentials are not in",
		},
		"a file that others can read": {
			options:      options{prepare: func(s *target) { s.must(os.Chmod(s.file, 0o644)) }},
			confirmation: (*target).confirmation, want: "chmod 600",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "others can read") && runtime.GOOS == "windows" {
				t.Skip("Windows has no such permissions")
			}
			s := newTarget(t, c.options)
			output, err := s.run(c.confirmation(s), nil)
			if err == nil || !strings.Contains(output, c.want) {
				t.Errorf("%v\n%s", err, output)
			}
			calls := s.org.Stats().Calls
			if n := calls[sfoauthtest.Stage] + calls[sfoauthtest.Promote] + calls[sfoauthtest.Delete]; n != 0 {
				t.Errorf("%d changes at Salesforce", n)
			}
		})
	}
}

func TestProductionOrgCanBeAllowed(t *testing.T) {
	t.Parallel()
	s := newTarget(t, options{org: sfoauthtest.Config{OrganizationType: "Enterprise Edition"}})
	if output, err := s.run(s.confirmation()+"/production", nil); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	s = newTarget(t, options{org: sfoauthtest.Config{OrganizationType: "Enterprise Edition", IsSandbox: true}})
	s.complete()
}

// TestDocumentedReport compares docs/development.md with the report and the environment variables.
func TestDocumentedReport(t *testing.T) {
	page := mdtest.Read(t, "../../docs/development.md")
	var documented []string
	for _, row := range page.TablesUnder(t, "Try it against a real org")[0] {
		documented = append(documented, mdtest.Code(row[0])[0])
	}
	if want := []string{fileVar, confirmVar, propagationVar, awsVar}; !slices.Equal(documented, want) {
		t.Errorf("the page has the variables %q, want %q", documented, want)
	}
	lines := 0
	for _, b := range page.Blocks {
		if b.Heading != "Try it against a real org" || b.Language != "text" {
			continue
		}
		for line := range strings.Lines(b.Text) {
			lines++
			question, answer, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if usual[question] != answer {
				t.Errorf("the report has %q, not %q", usual[question], line)
			}
		}
	}
	if lines == 0 {
		t.Error("the page has no report")
	}
}

// An AWS that ignores VersionStages moves AWSCURRENT.
func TestAnswerOfAWS(t *testing.T) {
	t.Parallel()
	for want, ignored := range map[string]string{"yes": "", "no": `"VersionStages"`} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			manager := localaws.NewSecretsManager(localaws.SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if ignored != "" {
					body = bytes.ReplaceAll(body, []byte(ignored), []byte(`"Ignored"`))
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				manager.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			client := secretsmanager.New(secretsmanager.Options{
				Region: "us-east-1", BaseEndpoint: &server.URL,
				Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
			})
			answers := labelsMoved(t, client, "org-test")
			if len(answers) != 2 || answers["AWSPENDING"] != want || answers["CANDIDATE"] != want {
				t.Error(answers)
			}
			all := &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}
			list, err := client.ListSecrets(t.Context(), all)
			if err != nil || len(list.SecretList) != 0 {
				t.Errorf("the secret is left (%v)", err)
			}
		})
	}
}

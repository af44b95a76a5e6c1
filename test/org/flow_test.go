package org

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotateapi"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// The questions, in the order in which a run answers them.
const (
	tokenFormat      = "format of the tokens"
	sessionTimeout   = "lifetime of a new session, by introspection"
	secondLogin      = "does a second login return the same session"
	stagedLogin      = "do staged credentials log in"
	stagedSigner     = "which secret signs a token of staged credentials"
	sessionSurvives  = "does a session survive the rotation"
	introspectsOld   = "do the new credentials introspect a token of the old ones as active"
	rotatedEntry     = "what the org lists after the rotation"
	oldLogin         = "do the old credentials log in after the rotation"
	oldSigner        = "which secret signs a token of the old credentials"
	revokeOld        = "what revoke answers with a secret that is no longer primary"
	revokeEndsOthers = "does revoking a token end the app's other tokens"
	revokePrimary    = "what revoke answers with the primary secret"
	revokeAgain      = "what revoke answers for a token that is revoked already"
	emptyStaged      = "what /staged answers when it is empty"
	deletedSession   = "does a session survive the deletion of the credentials that it was issued to"
	deletedLogin     = "do deleted credentials log in"
	vendRevoke       = "does the token function vend a token, and revoke it"
)

// flow is one run against an org. It fails t where sftoken does not work, and not because of an answer.
type flow struct {
	*testing.T
	file        *credentialsFile
	confirmed   string
	hosts       sfoauth.AllowedHosts
	propagation time.Duration // how long new credentials may take to work everywhere
	answer      func(question, answer string)

	old, current *appsecret.Version // before and after the rotation
	first        *sfoauth.Token     // issued to old
	expiry       time.Time          // of first, if it is not used
	stack        *stack.Stack
	wire         recorder
}

func (f *flow) run() {
	f.open()
	f.sessions()
	f.rotate()
	f.afterRotation()
	f.vend()
}

// must fails the test. Errors of sftoken's packages contain no secrets.
func (f *flow) must(doing string, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", doing, err)
	}
}

// open logs in, checks that the org and the app are those that were confirmed, and takes over what an interrupted run
// has left. It changes nothing at Salesforce.
func (f *flow) open() {
	app, err := f.file.version(appName)
	f.must("reading the file", err)
	pending, err := f.file.version(pendingName)
	f.must("reading the file", err)
	f.old = app
	token, err := f.tryLogin(app)
	if refused, ok := errors.AsType[*sfoauth.Error](err); ok && refused.IsInvalidClient() && pending != nil {
		f.old = pending
		token, err = f.tryLogin(pending)
	}
	f.must("login", err)
	f.checkConfirmed(token)

	primary, err := f.admin().Primary(f.Context())
	f.must("reading the primary credentials", err)
	switch {
	case pending != nil && pending.Credentials().Equal(primary):
		f.must("saving", f.file.adoptPending())
		f.old = pending
	case !app.Credentials().Equal(primary):
		f.Fatalf("the app's primary credentials are not in %s: put them there", f.file.path)
	}
}

// checkConfirmed ends the test unless the owner has named this org and app, and that it is a production org if it is.
// Source of the fields: Object Reference, "Organization".
func (f *flow) checkConfirmed(token *sfoauth.Token) {
	const query = "SELECT Id, Name, OrganizationType, IsSandbox FROM Organization"
	address := token.InstanceURL + "/services/data/" + sfoauth.APIVersion + "/query?q=" + url.QueryEscape(query)
	ctx, cancel := context.WithTimeout(f.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	f.must("reading Organization", err)
	request.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
	response, err := f.wire.RoundTrip(request) // follows no redirect
	f.must("reading Organization", err)
	response.Body.Close()
	var result struct {
		Records []struct {
			ID, Name, OrganizationType string
			IsSandbox                  bool
		}
	}
	if json.Unmarshal(f.wire.body, &result) != nil || len(result.Records) != 1 ||
		!sfoauth.EqualIDs(result.Records[0].ID, token.OrganizationID) {
		f.Fatalf("cannot tell whether this is a production org: %s", f.wire.summary())
	}
	org := result.Records[0]
	want := token.OrganizationID + "/" + f.old.AppID
	if !org.IsSandbox && org.OrganizationType != "Developer Edition" {
		want += "/production"
	}
	if f.confirmed != want {
		f.Fatalf("this test changes the credentials of app %s in org %s (%q, %q, sandbox %t) and deletes the old ones\n"+
			"hint: if that is what you want, set %s=%s",
			f.old.AppID, token.OrganizationID, org.Name, org.OrganizationType, org.IsSandbox, confirmVar, want)
	}
}

// sessions asks about logins with the primary credentials.
func (f *flow) sessions() {
	f.first = f.login(f.old)
	if wrong := f.first.SignatureErr; wrong != nil {
		f.Errorf("a token of the primary credentials: %v", wrong)
	}
	f.answer(tokenFormat, format(f.first))
	state, err := f.client(f.old).Introspect(f.Context(), f.first)
	f.must("introspection", err)
	f.expiry = state.Expiry
	lifetime := "not known: introspection gives no expiry"
	if !f.expiry.IsZero() {
		lifetime = time.Until(f.expiry).Round(time.Minute).String()
	}
	f.answer(sessionTimeout, lifetime)
	f.must("calling the REST API", f.client(f.old).Ping(f.Context(), f.first))
	same := f.login(f.old).AccessToken.Equal(f.first.AccessToken)
	f.answer(secondLogin, map[bool]string{true: "yes: the token is the same", false: "no: the token is another"}[same])
}

// staged asks about the credentials that a rotation has stored and not yet promoted. It runs within a rotation step.
func (f *flow) staged() error {
	staged, err := f.file.version(pendingName)
	if err != nil || staged == nil {
		return errors.Join(err, errors.New("the new credentials are not in the file"))
	}
	token, err := f.tryLogin(staged)
	f.answer(stagedLogin, f.yesOrRefusal(err))
	if err == nil {
		f.answer(stagedSigner, f.signer(token, "the staged secret", staged, f.old))
	}
	return nil
}

// afterRotation asks about the old credentials, and deletes them at the end.
func (f *flow) afterRotation() {
	time.Sleep(f.propagation) // a server that has not yet heard of the rotation would give the wrong answers
	survives := f.yesOrRefusal(f.client(f.current).Ping(f.Context(), f.first))
	if survives != "yes" && time.Now().After(f.expiry) {
		survives = "not known: the session may have reached its timeout"
	}
	f.answer(sessionSurvives, survives)
	if survives == "yes" {
		state, err := f.client(f.current).Introspect(f.Context(), f.first)
		f.must("introspection", err)
		f.answer(introspectsOld, yes(state.Active))
	}
	entries, err := f.admin().ListStaged(f.Context())
	f.must("listing the rotated credentials", err)
	for _, e := range entries {
		expire := "without an expiration date"
		if !e.Expiration.IsZero() {
			expire = fmt.Sprintf("which expire in %.0f days", time.Until(e.Expiration).Hours()/24)
		}
		f.answer(rotatedEntry, fmt.Sprintf("credentials of state %.32q, %s", e.State, expire))
	}
	if len(entries) == 0 {
		f.answer(rotatedEntry, "nothing")
	}
	token, err := f.tryLogin(f.old)
	f.answer(oldLogin, f.yesOrRefusal(err))
	if err == nil {
		f.answer(oldSigner, f.signer(token, "the old secret", f.old, f.current))
	} else {
		token = f.login(f.current)
	}
	f.revocations(token)

	token, err = f.tryLogin(f.old)
	for _, e := range entries {
		f.must("deleting the old credentials", f.admin().Delete(f.Context(), e.ID))
	}
	if err == nil {
		f.answer(deletedSession, yes(f.accepted(token)))
	}
	left, err := f.admin().ListStaged(f.Context())
	if len(left) > 0 {
		f.Errorf("%d credentials are left at Salesforce", len(left))
	}
	if refused, ok := errors.AsType[*sfoauth.Error](err); err != nil && !(ok && refused.IsNotFound()) {
		f.Errorf("an empty /staged: %v", err) // internal/rotation expects no other error
	}
	f.answer(emptyStaged, f.wire.summary())
	_, err = f.tryLogin(f.old)
	f.answer(deletedLogin, f.yesOrRefusal(err))
}

// revocations asks about revoking, first of the token with the old credentials.
func (f *flow) revocations(token *sfoauth.Token) {
	revoke := func(question string, as *appsecret.Version, token *sfoauth.Token) {
		err := f.client(as).Revoke(f.Context(), token)
		if failed, ok := errors.AsType[*sfoauth.Error](err); ok && failed.Status == 0 {
			f.must("revocation", err)
		}
		summary := f.wire.summary()
		f.answer(question, summary+", and the REST API "+
			map[bool]string{true: "accepts", false: "rejects"}[f.accepted(token)]+" the token")
	}
	revoke(revokeOld, f.old, token)
	token, other := f.login(f.current), f.login(f.current)
	revoke(revokePrimary, f.current, token)
	f.answer(revokeEndsOthers, yes(!f.accepted(other)))
	revoke(revokeAgain, f.current, token)
}

// rotate runs a rotation: Secrets Manager is simulated, and everything else is real.
func (f *flow) rotate() {
	secrets := map[string]json.RawMessage{appName: json.RawMessage(f.old.Value().Reveal())}
	rotator := &rotation.Rotator{
		Prefix: stack.Prefix, Hosts: f.hosts, HTTPClient: &http.Client{Transport: sfoauth.NewTransport()},
		Propagation: f.propagation, Logins: loginbudget.New(0, 0),
	}
	if value := f.file.values[adminName]; value != nil {
		secrets[adminName], rotator.AdminApp = value, adminName
	}
	handler := &rotateapi.Handler{Rotator: rotator, Log: telemetry.New(io.Discard, 0, "sftoken", "test")}
	var failed error
	var err error
	f.stack, err = stack.Start(f.Context(), stack.Config{
		Secrets: secrets, Env: []string{"SALESFORCE_HOSTS=" + strings.Join(f.hosts, ",")},
		RotateFunction: func(ctx context.Context, payload []byte) (response []byte, _ error) {
			var event struct{ Step string }
			if err := json.Unmarshal(payload, &event); err != nil || event.Step == "" {
				return []byte("null"), err // only the rotation is under test, not what its labels cause
			}
			if event.Step == "finishSecret" {
				if failed = f.staged(); failed != nil {
					return nil, failed
				}
			}
			response, failed = handler.Invoke(ctx, payload)
			return response, failed
		},
	})
	f.must("starting the simulated AWS", err)
	f.Cleanup(f.stack.Close)
	rotator.Secrets, rotator.Lister = savingClient{f.stack.Secrets, f.file}, f.stack.Secrets
	_, err = f.stack.Secrets.RotateSecret(f.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(stack.Prefix + appName), RotationLambdaARN: aws.String(stack.RotateARN),
	})
	f.must("rotation", errors.Join(failed, err))

	stored, err := appsecret.Reader{Client: f.stack.Secrets, Prefix: stack.Prefix}.Read(
		f.Context(), appName, appsecret.Current)
	f.must("reading AWSCURRENT", err)
	f.current, err = f.file.version(pendingName)
	f.must("reading the file", err)
	if f.current == nil || !stored.SameCredentials(f.current) {
		f.Fatal("AWSCURRENT has not moved to the new credentials, which are in the file")
	}
	f.must("saving", f.file.adoptPending())
}

// vend gets a token of the new credentials from a process of the token function through the signed API, and revokes it.
func (f *flow) vend() {
	source := f.stack.SourceFor(f.stack.Keys.Owner)
	vended, err := source.Fetch(f.Context())
	f.must("vending", err)
	token := &sfoauth.Token{AccessToken: vended.AccessToken, InstanceURL: vended.InstanceURL}
	f.must("calling the REST API with a vended token", f.client(f.current).Ping(f.Context(), token))
	if err := source.Revoke(f.Context()); err != nil {
		f.answer(vendRevoke, fmt.Sprintf("it vends, and does not revoke: %v", err))
		return
	}
	f.answer(vendRevoke, yes(!f.accepted(token)))
}

func (f *flow) client(v *appsecret.Version) *sfoauth.Client {
	client := v.Client(f.hosts, &http.Client{Transport: &f.wire})
	client.AllowUnverifiedSignature = true // which secret signs is one of the questions
	return client
}

// tryLogin logs in; if Salesforce is still processing another token request of the app, after a pause.
func (f *flow) tryLogin(v *appsecret.Version) (*sfoauth.Token, error) {
	for tries := 0; ; tries++ {
		token, err := f.client(v).Token(f.Context())
		if refused, ok := errors.AsType[*sfoauth.Error](err); !ok || !refused.IsBusy() || tries == 3 {
			return token, err
		}
		time.Sleep(time.Second)
	}
}

func (f *flow) login(v *appsecret.Version) *sfoauth.Token {
	f.Helper()
	token, err := f.tryLogin(v)
	f.must("login", err)
	return token
}

// admin returns a client that changes the app's credentials, with a new login.
func (f *flow) admin() *sfoauth.StagedCredentialsClient {
	f.Helper()
	admin, err := f.file.version(adminName)
	f.must("reading the file", err)
	if admin == nil {
		admin = cmp.Or(f.current, f.old)
	}
	return f.client(admin).StagedCredentials(f.login(admin), f.old.AppID, f.old.ConsumerID)
}

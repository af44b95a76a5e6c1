package demo

import (
	"context"
	"errors"
	"net/http"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// vend shows who gets a token, and that callers share one.
func (d *demo) vend(ctx context.Context) error {
	billing, stranger := d.stack.Keys.Billing, d.stack.Keys.Stranger
	status, err := get(ctx, d.stack.URL+"/tokens/crm", "")
	if err != nil {
		return err
	}
	if err := d.check(status == http.StatusForbidden, "API Gateway rejects an unsigned request: HTTP %d.",
		status); err != nil {
		return err
	}
	wrong := billing
	wrong.SecretAccessKey = "not-the-secret"
	_, err = d.fetch(ctx, wrong)
	refused, _ := errors.AsType[*sftoken.Error](err)
	if err := d.check(refused != nil && refused.Status == http.StatusForbidden,
		"It rejects a request signed with the wrong key."); err != nil {
		return err
	}
	before := d.logins()
	token, err := d.fetch(ctx, billing)
	if err != nil {
		return err
	}
	if err := d.check(token.Cache == "miss" && d.logins() == before+1 && d.active(token),
		"Account %s signs with its own identity and gets token %s: one login at Salesforce.", billing.Account,
		token.ID); err != nil {
		return err
	}
	if status, err = callREST(ctx, token); err != nil {
		return err
	}
	if err := d.check(status == http.StatusOK, "The token calls the org's REST API: HTTP %d.", status); err != nil {
		return err
	}
	before = d.logins()
	again, err := d.fetch(ctx, billing)
	if err != nil {
		return err
	}
	if err := d.check(again.ID == token.ID && d.logins() == before,
		"A second request gets the same token, without a login (%s).", again.Cache); err != nil {
		return err
	}
	_, err = d.fetch(ctx, stranger)
	refused, _ = errors.AsType[*sftoken.Error](err)
	return d.check(refused != nil && refused.Code == "access_denied",
		"Account %s may call the API, but is not among the app's allowedPrincipals: access_denied.", stranger.Account)
}

// deadToken reports a token as rejected: once while it is active, and once after its session has ended.
func (d *demo) deadToken(ctx context.Context) error {
	billing := d.stack.Keys.Billing
	source := d.stack.SourceFor(billing)
	token, err := source.Fetch(ctx)
	if err != nil {
		return err
	}
	before := d.logins()
	same, err := source.Refresh(ctx, token.ID)
	if err != nil {
		return err
	}
	if err := d.check(same.ID == token.ID && d.logins() == before,
		"A caller reports that Salesforce rejected the token. Salesforce says that it is active: no login (%s).",
		same.Cache); err != nil {
		return err
	}
	d.stack.Org.KillSession(token.AccessToken.Reveal())
	status, err := callREST(ctx, token)
	if err != nil {
		return err
	}
	if err := d.check(status == http.StatusUnauthorized,
		"An administrator ends the session: the REST API returns HTTP %d.", status); err != nil {
		return err
	}
	next, err := d.refreshUntil(ctx, "another token", token, func(t *sftoken.Token) bool { return t.ID != token.ID })
	if err != nil {
		return err
	}
	return d.check(d.active(next), "Asked with rejected=%s, the API returns a new token, %s.", token.ID, next.ID)
}

// outage makes Salesforce unavailable while a token is cached.
func (d *demo) outage(ctx context.Context) error {
	billing := d.stack.Keys.Billing
	token, err := d.fetch(ctx, billing)
	if err != nil {
		return err
	}
	d.stack.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
	status, err := callREST(ctx, token)
	if err != nil {
		return err
	}
	for range 100 {
		if _, err := d.fetch(ctx, billing); err != nil {
			return err
		}
	}
	if err := d.check(status == http.StatusServiceUnavailable,
		"Salesforce is down for maintenance (HTTP %d). 100 requests for a token still succeed.", status); err != nil {
		return err
	}
	stale, err := d.refreshUntil(ctx, "a stale token", token, func(t *sftoken.Token) bool { return t.Cache == "stale" })
	if err != nil {
		return err
	}
	if err := d.check(stale.ID == token.ID,
		"A token that cannot be confirmed now is returned as %s, until the expiry that Salesforce last reported.",
		stale.Cache); err != nil {
		return err
	}
	d.stack.Org.ClearFaults()
	recovered, err := d.fetch(ctx, billing)
	if err != nil {
		return err
	}
	if status, err = callREST(ctx, recovered); err != nil {
		return err
	}
	return d.check(status == http.StatusOK, "Salesforce is back, and the token calls its REST API: HTTP %d.", status)
}

// refreshUntil reports the token as rejected until the API returns the wanted one: it introspects a rejected token at
// most once in five seconds.
func (d *demo) refreshUntil(
	ctx context.Context, what string, rejected *sftoken.Token, wanted func(*sftoken.Token) bool,
) (token *sftoken.Token, err error) {
	err = waitFor(ctx, what, func() (ok bool, err error) {
		token, err = d.stack.SourceFor(d.stack.Keys.Billing).Refresh(ctx, rejected.ID)
		return err == nil && wanted(token), err
	})
	return token, err
}

func callREST(ctx context.Context, token *sftoken.Token) (status int, err error) {
	return get(ctx, token.InstanceURL+"/services/data/v65.0/limits", "Bearer "+token.AccessToken.Reveal())
}

func get(ctx context.Context, url, authorization string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

func newDemo() *cobra.Command {
	return &cobra.Command{
		Use: "demo", GroupID: localGroup,
		Short: "Show the main job once, on this machine, and check it",
		Long: `Show the main job once, on this machine: the real functions between a
simulated Salesforce org and stand-ins for AWS. Each line is printed after it
has been checked; the first thing that does not happen as told ends the demo.`,
		Example:     `  sftoken demo`,
		Annotations: sections{}.exits(map[int]string{0: "everything happened as told", 1: "something did not"}),
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{out: cmd.OutOrStdout(), log: &localaws.SyncBuffer{}}
			var err error
			const anyPort = "127.0.0.1:0"
			d.stack, err = newStack(cmd.Context(), stackOptions{
				api: anyPort, aws: anyPort, org: anyPort, log: d.log,
				env:    []string{"SECRET_TTL=1s", "PROPAGATION=5s"}, // so that changes show within the demo
				behind: rotationDays * 24 * time.Hour,               // the secret is stored so long ago
			})
			if err != nil {
				return err
			}
			defer d.stack.Close()
			if err := d.stack.settle(cmd.Context()); err != nil {
				return err
			}
			return d.run(cmd.Context())
		},
	}
}

// demo tells a story and checks it.
type demo struct {
	out   io.Writer
	stack *stack
	log   *localaws.SyncBuffer
	step  int
}

func (d *demo) run(ctx context.Context) error {
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A caller gets a token with nothing but an IAM identity", d.vend},
		{"A token dies, and Salesforce goes down", d.survive},
		{"The secret changes, and nobody notices", d.change},
		{"What an auditor reads", d.audit},
	} {
		fmt.Fprintf(d.out, "\n%s\n", chapter.title)
		if err := chapter.tell(ctx); err != nil {
			return fmt.Errorf("%s: %w", chapter.title, err)
		}
	}
	fmt.Fprintln(d.out, "\nTo try it yourself: sftoken local")
	return nil
}

// told prints a line, if what it tells is so.
func (d *demo) told(so bool, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if !so {
		return fmt.Errorf("%w: %s", errNotAsTold, text)
	}
	d.step++
	newTerminal(d.out).column(fmt.Sprintf("  %2d. ", d.step), 6, text)
	return nil
}

// as returns a source of tokens for somebody.
func (d *demo) as(p localaws.Principal) *sftoken.TokenSource {
	return sftoken.NewTokenSource(aws.Config{Region: region, Credentials: credentialsOf(p)}, d.stack.url, "crm")
}

// get asks the API for a token, as a caller does who has none yet.
func (d *demo) get(ctx context.Context, p localaws.Principal) (*sftoken.Token, error) {
	return d.as(p).Fetch(ctx)
}

func (d *demo) logins() int { return d.stack.org.Stats().Calls[sfoauthtest.Token] }

func (d *demo) vend(ctx context.Context) error {
	resp, err := http.Get(d.stack.url + "/tokens/crm")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if err := d.told(resp.StatusCode == http.StatusForbidden, "An unsigned request is refused by API Gateway: HTTP %d.", resp.StatusCode); err != nil {
		return err
	}
	wrong := billingKey
	wrong.SecretAccessKey = "not-the-secret"
	_, err = d.get(ctx, wrong)
	refused, _ := errors.AsType[*sftoken.Error](err)
	if err := d.told(refused != nil && refused.Status == http.StatusForbidden, "A request signed with the wrong key is refused too."); err != nil {
		return err
	}
	begun := d.logins()
	token, err := d.get(ctx, billingKey)
	if err != nil {
		return err
	}
	if err := d.told(token.Cache == "miss" && d.logins() == begun+1 && d.stack.org.TokenActive(token.AccessToken.Reveal()),
		"Account %s, signing with its own identity, gets token %s: one login at Salesforce.", billingKey.Account, token.ID); err != nil {
		return err
	}
	status, err := callREST(ctx, token)
	if err != nil {
		return err
	}
	if err := d.told(status == http.StatusOK, "The token calls the org's REST API: HTTP %d.", status); err != nil {
		return err
	}
	before := d.logins()
	again, err := d.get(ctx, billingKey)
	if err != nil {
		return err
	}
	if err := d.told(again.ID == token.ID && d.logins() == before, "The second request gets the same token and costs no login (%s).", again.Cache); err != nil {
		return err
	}
	_, err = d.get(ctx, strangerKey)
	refused, _ = errors.AsType[*sftoken.Error](err)
	return d.told(refused != nil && refused.Code == "access_denied",
		"Account %s may call the API, but is not among the app's allowedPrincipals: access_denied.", strangerKey.Account)
}

func callREST(ctx context.Context, token *sftoken.Token) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, token.InstanceURL+"/services/data/v65.0/limits", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func (d *demo) survive(ctx context.Context) error {
	source := d.as(billingKey)
	token, err := source.Fetch(ctx)
	if err != nil {
		return err
	}
	before := d.logins()
	same, err := source.Refresh(ctx, token.ID)
	if err != nil {
		return err
	}
	if err := d.told(same.ID == token.ID && d.logins() == before, "A caller says that Salesforce refused the token. Salesforce says that it is alive: no login (%s).", same.Cache); err != nil {
		return err
	}
	d.stack.org.KillSession(token.AccessToken.Reveal())
	status, err := callREST(ctx, token)
	if err != nil {
		return err
	}
	if err := d.told(status == http.StatusUnauthorized, "An administrator ends the session: the REST API answers HTTP %d.", status); err != nil {
		return err
	}
	time.Sleep(5100 * time.Millisecond) // a caller's word is looked into once in five seconds
	next, err := d.as(billingKey).Refresh(ctx, token.ID)
	if err != nil {
		return err
	}
	if err := d.told(next.ID != token.ID && d.stack.org.TokenActive(next.AccessToken.Reveal()), "Asked with rejected=%s, the API gives out a new token, %s.", token.ID, next.ID); err != nil {
		return err
	}
	d.stack.org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Maintenance(), 0)
	status, err = callREST(ctx, next)
	if err != nil {
		return err
	}
	for range 100 {
		if _, err := d.get(ctx, billingKey); err != nil {
			return err
		}
	}
	if err := d.told(status == http.StatusServiceUnavailable, "Salesforce goes down for maintenance (HTTP %d). 100 requests for a token are served all the same.", status); err != nil {
		return err
	}
	time.Sleep(5100 * time.Millisecond)
	stale, err := d.as(billingKey).Refresh(ctx, next.ID)
	if err != nil {
		return err
	}
	if err := d.told(stale.Cache == "stale", "A token that cannot be confirmed now is handed out as %s, for as long as Salesforce has last said that it lives.", stale.Cache); err != nil {
		return err
	}
	d.stack.org.ClearFaults()
	time.Sleep(1100 * time.Millisecond) // the failure is remembered for a second
	healed, err := d.get(ctx, billingKey)
	if err != nil {
		return err
	}
	status, err = callREST(ctx, healed)
	if err != nil {
		return err
	}
	return d.told(status == http.StatusOK, "Salesforce is back, and the token calls its REST API: HTTP %d.", status)
}

// audit shows real lines of the token function.
func (d *demo) audit(context.Context) error {
	shown := 0
	for _, outcome := range []string{`"cache":"miss"`, `"cache":"stale"`, `"outcome":"access_denied"`, `"msg":"rotation"`} {
		for _, line := range d.log.Lines() {
			if strings.Contains(line, outcome) {
				text, err := plain(line)
				if err != nil {
					return err
				}
				fmt.Fprintf(d.out, "      %s\n", text)
				shown++
				break
			}
		}
	}
	if err := d.told(shown == 4, "Who, what, which token, which version of the secret. The metrics are in the same lines, and left out here."); err != nil {
		return err
	}
	all := d.log.String()
	for _, secret := range d.stack.org.Secrets() {
		if strings.Contains(all, secret) {
			return fmt.Errorf("%w: a secret is in the log", errNotAsTold)
		}
	}
	return d.told(len(d.stack.org.Violations()) == 0, "None of the org's %d secrets, tokens and signatures is in any of the %d lines.", len(d.stack.org.Secrets()), len(d.log.Lines()))
}

// plain is a log line without its metrics.
func plain(line string) (string, error) {
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return "", fmt.Errorf("a log line is not JSON: %w", err)
	}
	for name := range fields {
		if strings.ToLower(name) != name || name == "_aws" || name == "version" || name == "lambda_request_id" {
			delete(fields, name)
		}
	}
	text, err := json.Marshal(fields)
	return string(text), err
}

package sftoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

var _ oauth2.TokenSource = (*sftoken.TokenSource)(nil)

func TestTokenReuse(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Token()
		h.Must(err)
		if !h.Org.TokenActive(first.AccessToken) || first.Type() != "Bearer" ||
			time.Until(first.Expiry) != vending.DefaultTokenTTL {
			t.Errorf("a %s that lives for %s", first.Type(), time.Until(first.Expiry))
		}
		for _, name := range []string{"instance_url", "token_id", "scope"} {
			if text, _ := first.Extra(name).(string); text == "" {
				t.Errorf("no %s", name)
			}
		}
		time.Sleep(vending.DefaultTokenTTL - 31*time.Second)
		again, err := source.Fetch(t.Context())
		h.Must(err)
		if again.AccessToken.Reveal() != first.AccessToken || again.Cache != "miss" || len(h.Requests()) != 1 {
			t.Error("the token was not reused")
		}
		time.Sleep(2 * time.Second)
		again, err = source.Fetch(t.Context())
		h.Must(err)
		if again.Cache != "confirmed" || len(h.Requests()) != 1 {
			t.Errorf("half a minute before it expires: %s", again.Cache)
		}
	})
}

func TestShortLivedToken(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		short := respond(200, tokenJSON("short", "https://x.my.salesforce.com", 20))
		h.RespondWith(short, short, short)
		source := h.source("crm")
		for _, c := range []struct {
			after    time.Duration
			requests int
		}{{0, 1}, {9 * time.Second, 0}, {2 * time.Second, 1}} {
			time.Sleep(c.after)
			_, err := source.Fetch(t.Context())
			h.Must(err)
			if n := len(h.Requests()); n != c.requests {
				t.Errorf("%s later: %d requests", c.after, n)
			}
		}
	})
}

func TestConcurrentFetch(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.SetDelay(3 * time.Second)
		source := h.source("crm")
		impatient, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		begun := time.Now()
		callers.Go(func() {
			_, err := source.Fetch(impatient) // the one whose call began the request
			if !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second {
				t.Errorf("after %s: %v", time.Since(begun), err)
			}
		})
		time.Sleep(time.Millisecond)
		for range 100 {
			callers.Go(func() {
				if _, err := source.Fetch(t.Context()); err != nil || time.Since(begun) != 3*time.Second {
					t.Errorf("after %s: %v", time.Since(begun), err)
				}
			})
		}
		time.Sleep(time.Second - time.Millisecond)
		leave()
		callers.Wait()
		if asked := h.Requests(); len(asked) != 1 {
			t.Errorf("%d requests", len(asked))
		}
	})
}

func TestAbandonedRequestIsCached(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		h.SetDelay(3 * time.Second)
		source := h.source("crm")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.Fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a second of time: %v", err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		begun := time.Now()
		if _, err := source.Fetch(t.Context()); err != nil || time.Since(begun) > 0 || len(h.Requests()) != 1 {
			t.Errorf("what the first caller began has not been kept: %v", err)
		}
	})
}

func TestRefresh(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		same, err := source.Refresh(t.Context(), first.ID)
		h.Must(err)
		if same.ID != first.ID || same.Cache != "confirmed" {
			t.Errorf("a token that lives was replaced: %s", same.Cache)
		}
		for range 10 {
			_, err = source.Refresh(t.Context(), first.ID)
			h.Must(err)
		}
		if asked := h.Requests(); !slices.Equal(asked, []string{"", first.ID}) {
			t.Errorf("asked %q", asked)
		}
		h.Org.RevokeAll()
		time.Sleep(6 * time.Second)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				if next, err := source.Refresh(t.Context(), first.ID); err != nil || next.ID == first.ID ||
					!h.Org.TokenActive(next.AccessToken.Reveal()) {
					t.Errorf("a dead token was not replaced: %v", err)
				}
			})
		}
		callers.Wait()
		if asked := h.Requests(); len(asked) != 1 {
			t.Errorf("%d requests for one dead token", len(asked))
		}
	})
}

// The API checks a rejected token once in five seconds. A second token whose session ends in that time must not be
// taken for one that Salesforce rejects for another reason.
func TestRefreshWaitsForCheck(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		h.Org.RevokeAll()
		second, err := source.Refresh(t.Context(), first.ID)
		h.Must(err)
		h.Org.RevokeAll()
		begun := time.Now()
		third, err := source.Refresh(t.Context(), second.ID)
		h.Must(err)
		if third.ID == second.ID || !h.Org.TokenActive(third.AccessToken.Reveal()) || time.Since(begun) > 6*time.Second {
			t.Errorf("after %s the dead token was not replaced", time.Since(begun))
		}
		h.Org.RevokeAll()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if same, err := source.Refresh(ctx, third.ID); err != nil || same.ID != third.ID || time.Since(begun) > 0 {
			t.Errorf("without the time to wait, after %s: %v", time.Since(begun), err)
		}
	})
}

func TestRevoke(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		first, err := source.Fetch(t.Context())
		h.Must(err)
		h.RespondWith(down("Retry-After: 2"), closeConn)
		h.Must(source.Revoke(t.Context()))
		if h.Org.TokenActive(first.AccessToken.Reveal()) {
			t.Error("the token lives")
		}
		next, err := source.Fetch(t.Context())
		h.Must(err)
		if next.ID == first.ID {
			t.Error("the revoked token is still handed out")
		}
		err = h.source("erp").Revoke(t.Context())
		if failed := errorOf(err); failed.Status != 403 || !strings.Contains(failed.Description, "DELETE/tokens/erp") {
			t.Errorf("what IAM does not allow: %v", err)
		}
	})
}

// The signatures are checked by the gateway, for its region.
func TestRegionAndAddress(t *testing.T) {
	t.Parallel()
	for address, region := range map[string]string{
		"https://abc123.execute-api.eu-west-1.amazonaws.com/v1":                    "eu-west-1",
		"https://ABC123.Execute-API.eu-west-1.amazonaws.com/v1":                    "eu-west-1",
		"https://abc123-vpce-0a1b2c3d.execute-api.us-gov-west-1.amazonaws.com/v1":  "us-gov-west-1",
		"https://vpce-0a1b-us-east-2a.execute-api.us-east-2.vpce.amazonaws.com/v1": "us-east-2",
		"https://abc123.execute-api.cn-north-1.amazonaws.com.cn/v1":                "cn-north-1",
		"https://abc123.execute-api.eusc-de-east-1.amazonaws.eu/v1":                "eusc-de-east-1",
		"https://tokens.example.com/v1":                                            "",
		"https://abc123.execute-api.localhost.localstack.cloud/v1":                 "",
		"https://notexecute-api.eu-west-1.amazonaws.com/v1":                        "",
		"http://localhost:4566/v1":                                                 "",
	} {
		if got := sftoken.RegionFromURL(address); got != region {
			t.Errorf("%s: region %q", address, got)
		}
		runSynctest(t, func(t *testing.T, h *harness) {
			h.Gateway.Region = region
			var options []sftoken.Option
			if region == "" {
				h.Gateway.Region = "ap-southeast-2"
				options = append(options, sftoken.WithRegion("ap-southeast-2"))
			}
			port, host := "443", strings.TrimSuffix(strings.TrimPrefix(address, "https://"), "/v1")
			if rest, ok := strings.CutPrefix(address, "http://"); ok {
				host, port, _ = strings.Cut(strings.TrimSuffix(rest, "/v1"), ":")
			}
			h.Serve(host+":"+port, h)
			config := aws.Config{Region: "us-east-1", Credentials: billing.Credentials()}
			source := sftoken.NewTokenSource(config, address, "crm", append(options, sftoken.WithHTTPClient(h.Client))...)
			if _, err := source.Fetch(t.Context()); err != nil {
				t.Errorf("%s: %v", address, err)
			}
		})
	}
}

func TestInvalidArguments(t *testing.T) {
	t.Parallel()
	with := func(c aws.CredentialsProvider) aws.Config { return aws.Config{Region: "us-east-1", Credentials: c} }
	good := with(billing.Credentials())
	const address = "https://api.example/v1"
	for want, source := range map[string]*sftoken.TokenSource{
		"must be a URL, like":       sftoken.NewTokenSource(good, "", "crm"),
		"must be a URL":             sftoken.NewTokenSource(good, "api.example", "crm"),
		"the API's address must be": sftoken.NewTokenSource(good, address+"?x=1", "crm"),
		"API's address must be a":   sftoken.NewTokenSource(good, address+"?", "crm"),
		"want a region after #":     sftoken.NewTokenSource(good, address+"#", "crm"),
		"address must be a URL":     sftoken.NewTokenSource(good, "https://me:pass@api.example/v1", "crm"),
		"must be https":             sftoken.NewTokenSource(good, "http://api.example/v1", "crm"),
		"address must be https":     sftoken.NewTokenSource(good, "http://abc123.execute-api.localhost:4566/v1", "crm"),
		`app "CRM"`:                 sftoken.NewTokenSource(good, address, "CRM"),
		"no region":                 sftoken.NewTokenSource(aws.Config{Credentials: good.Credentials}, address, "crm"),
		"has no credentials":        sftoken.NewTokenSource(aws.Config{Region: "us-east-1"}, address, "crm"),
		"credentials are empty":     sftoken.NewTokenSource(with(emptyCredentials{}), address, "crm"),
		"SSO session has expired":   sftoken.NewTokenSource(with(expiredCredentials{}), address, "crm"),
	} {
		_, err := source.Token()
		if err == nil || !strings.HasPrefix(err.Error(), "sftoken: ") || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "pass") {
			t.Errorf("want %q: %v", want, err)
		}
		if err := source.Revoke(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("revoking, want %q: %v", want, err)
		}
	}
}

type emptyCredentials struct{}

func (emptyCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, nil
}

type expiredCredentials struct{}

func (expiredCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the SSO session has expired")
}

func TestSecretsAreNotPrinted(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		source := h.source("crm")
		token, err := source.Fetch(t.Context())
		h.Must(err)
		wrong := billing
		wrong.SecretAccessKey = "another-secret"
		config := aws.Config{Region: "us-east-1", Credentials: wrong.Credentials()}
		source = sftoken.NewTokenSource(config, "http://"+apiHost+"/v1", "crm", sftoken.WithHTTPClient(h.Client))
		_, refused := source.Fetch(t.Context())
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){closeConn}, 20)...)
		_, broken := h.source("crm").Fetch(t.Context())
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){bodyOnly}, 20)...)
		_, garbled := h.source("crm").Fetch(t.Context())
		h.RespondWith()
		h.Org.InjectFault(sfoauthtest.REST, sfoauthtest.Reset(), 0)
		_, lost := h.salesforce().Get("/services/data")
		printed := fmt.Sprintf("%v %+v %#v %s", token, *token, token, token.JSON)
		printed += fmt.Sprintf("%v %v %v %v %+v", refused, broken, lost, garbled, garbled)
		secrets := append(h.Org.Secrets(), billing.SecretAccessKey, billing.SessionToken, "another-secret", "Signature=")
		for _, secret := range secrets {
			if strings.Contains(printed, secret) {
				t.Errorf("one of %d characters is in %s", len(secret), printed)
			}
		}
		if refused == nil || broken == nil || lost == nil || garbled == nil ||
			!strings.Contains(garbled.Error(), "malformed HTTP") {
			t.Errorf("no error where there should be one: %v, %v, %v, %v", refused, broken, lost, garbled)
		}
	})
}

package vending

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/simtest"
)

func TestDenialNamesEntry(t *testing.T) {
	t.Parallel()
	for arn, want := range map[string]string{
		"arn:aws:sts::333333333333:assumed-role/shipping/anna":       "role arn:aws:iam::333333333333:role/shipping",
		"arn:aws-cn:sts::333333333333:assumed-role/shipping/i-012/x": "role arn:aws-cn:iam::333333333333:role/shipping",
		"arn:aws:sts::333333333333:federated-user/anna":              "account 333333333333",
		"arn:aws:iam::333333333333:root":                             "account 333333333333",
		"arn:aws:iam::333333333333:user/team/anna":                   "user arn:aws:iam::333333333333:user/team/anna",
	} {
		o := options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}
		subtest(t, arn, o, func(t *testing.T, h *harness) {
			a := h.vendAs(arn)
			h.want(a, "access_denied")
			if got := a.description(); !strings.HasSuffix(got, "to add the "+want) || !strings.HasPrefix(got, arn) {
				t.Errorf("got %q, want it to end with %q", got, want)
			}
			_, entry, _ := strings.Cut(want, " ")
			h.StoreWith("allowedPrincipals", []string{entry})
			time.Sleep(DefaultSecretTTL)
			h.want(h.vendAs(arn), "miss") // the entry allows the caller
		})
	}
}

func TestUnreadablePrincipalsDenyEveryone(t *testing.T) {
	t.Parallel()
	for name, list := range map[string]any{
		"a string": "222222222222", "a broken entry": []string{"222222222222", "arn:aws:iam::22:role/x"}, "null": nil,
		"an object": map[string]any{},
	} {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			h.want(h.vend(), "miss")
			h.StoreWith("allowedPrincipals", list)
			time.Sleep(DefaultSecretTTL)
			for _, a := range []result{h.vend(), h.revoke()} {
				h.want(a, "access_denied")
				if text := a.description(); !strings.Contains(text, "cannot be read") ||
					!strings.Contains(text, "owner must fix") {
					t.Errorf("the description is %q", text)
				}
				wantUnreadable(t, a)
			}
			h.Store(h.Value(h.App.Credentials()))
			time.Sleep(DefaultSecretTTL)
			h.want(h.vend(), "miss")
		})
	}
}

func TestMalformedSecretHidesRestriction(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before any // allowedPrincipals; nil: none
		after  string
		closed bool
	}{
		"a near miss of the name": {
			nil, `{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","allowed_principals":["333333333333"]}`, true,
		},
		"a near miss, after a list": {
			[]string{"222222222222"},
			`{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","AllowedPrincipals":["333333333333"]}`, true,
		},
		"no JSON, and a list": {nil, `{"consumerKey":"k", "allowedPrincipals":["333333333333"],}`, true},
		"no consumerSecret, a narrower list": {
			[]string{"222222222222", "333333333333"},
			`{"consumerKey":"k","baseUri":"http://x","allowedPrincipals":["222222222222"]}`, true,
		},
		"no consumerSecret, and no list": {nil, `{"consumerKey":"k","baseUri":"http://x"}`, false},
		"no consumerSecret, and the same list": {
			[]string{"222222222222"}, `{"consumerKey":"k","baseUri":"http://x","allowedPrincipals":["222222222222"]}`, false,
		},
	} {
		o := options{}
		if c.before != nil {
			o.secret = map[string]any{"allowedPrincipals": c.before}
		}
		subtest(t, name, o, func(t *testing.T, h *harness) {
			first := h.vend()
			h.StoreText(c.after)
			time.Sleep(DefaultSecretTTL)
			a := h.vend()
			if !c.closed {
				h.want(a, "confirmed")
				return
			}
			h.want(a, "app_misconfigured")
			wantUnreadable(t, a)
			h.want(h.revoke(), "app_misconfigured")
			h.Store(h.Value(h.App.Credentials()))
			time.Sleep(time.Second)
			h.want(h.vend(), "miss")
			if !h.Org.TokenActive(first.token()) {
				t.Error("the token of the old version was revoked: others may hold it")
			}
		})
	}
}

func TestBinarySecretHidesRestriction(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.vend()
		value := h.Value(h.App.Credentials())
		value["allowedPrincipals"] = []string{"333333333333"}
		encoded, err := json.Marshal(value)
		h.Must(err)
		_, err = h.Secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: aws.String(simtest.SecretName), SecretBinary: encoded,
		})
		h.Must(err)
		time.Sleep(24 * time.Hour)
		h.want(h.vend(), "app_misconfigured")
	})
}

// wantUnreadable checks that an error is reported as one of allowedPrincipals, of an app that exists.
func wantUnreadable(t *testing.T, r result) {
	t.Helper()
	if !errors.Is(r.err, ErrPrincipalsUnreadable) || !r.err.AppExists {
		t.Errorf("the error is %v", r.err)
	}
}

package tokenapi

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/vending"
)

func TestADenialNamesWhatCanBeAdded(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:sts::333333333333:assumed-role/shipping/anna":       "to add the role arn:aws:iam::333333333333:role/shipping",
		"arn:aws-cn:sts::333333333333:assumed-role/shipping/i-012/x": "to add the role arn:aws-cn:iam::333333333333:role/shipping",
		"arn:aws:sts::333333333333:federated-user/anna":              "to add the account 333333333333",
		"arn:aws:iam::333333333333:root":                             "to add the account 333333333333",
		"arn:aws:iam::333333333333:user/team/anna":                   "to add the user arn:aws:iam::333333333333:user/team/anna",
	} {
		t.Run(arn, func(t *testing.T) {
			bubble(t, options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}, func(t *testing.T, w *world) {
				a := w.call(as(arn))
				w.want(a, 403, "access_denied")
				if got := a.text("error_description"); !strings.HasSuffix(got, want) || !strings.HasPrefix(got, arn) {
					t.Errorf("got %q, want it to end with %q", got, want)
				}
				_, entry, _ := strings.Cut(want, "to add the ")
				_, entry, _ = strings.Cut(entry, " ")
				value := w.pair(w.app.Credentials())
				value["allowedPrincipals"] = []string{entry}
				w.store(value)
				time.Sleep(vending.DefaultSecretTTL)
				w.want(w.call(as(arn)), 200, "miss") // it is what lets the caller in
			})
		})
	}
}

func TestAListThatCannotBeReadLetsInNobody(t *testing.T) {
	for name, list := range map[string]any{
		"a string": "222222222222", "a broken entry": []string{"222222222222", "arn:aws:iam::22:role/x"}, "null": nil, "an object": map[string]any{},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.want(w.get(), 200, "miss")
				value := w.pair(w.app.Credentials())
				value["allowedPrincipals"] = list
				w.store(value)
				time.Sleep(vending.DefaultSecretTTL)
				w.lines()
				for _, method := range []string{"GET", "POST", "DELETE"} {
					a := w.call(func(e map[string]any) { e["httpMethod"] = method })
					w.want(a, 403, "access_denied")
					if text := a.text("error_description"); !strings.Contains(text, "cannot be read") || !strings.Contains(text, "owner must fix") {
						t.Errorf("the caller is told %q", text)
					}
				}
				for _, line := range w.lines() {
					if got := metricNames(line); got != "PrincipalsUnreadable[app] Refusals[app error]" {
						t.Errorf("metrics %s", got)
					}
				}
				w.store(w.pair(w.app.Credentials()))
				time.Sleep(vending.DefaultSecretTTL)
				w.want(w.get(), 200, "miss")
			})
		})
	}
}

func TestAValueThatHidesARestrictionIsNotReplacedByAWiderOne(t *testing.T) {
	for name, c := range map[string]struct {
		before any // allowedPrincipals; nil: none
		after  string
		closed bool
	}{
		"a near miss of the name":              {nil, `{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","allowed_principals":["333333333333"]}`, true},
		"a near miss, after a list":            {[]string{"222222222222"}, `{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","AllowedPrincipals":["333333333333"]}`, true},
		"no JSON, and a list":                  {nil, `{"consumerKey":"k", "allowedPrincipals":["333333333333"],}`, true},
		"no consumerSecret, a narrower list":   {[]string{"222222222222", "333333333333"}, `{"consumerKey":"k","baseUri":"http://x","allowedPrincipals":["222222222222"]}`, true},
		"no consumerSecret, and no list":       {nil, `{"consumerKey":"k","baseUri":"http://x"}`, false},
		"no consumerSecret, and the same list": {[]string{"222222222222"}, `{"consumerKey":"k","baseUri":"http://x","allowedPrincipals":["222222222222"]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := options{}
			if c.before != nil {
				o.secret = map[string]any{"allowedPrincipals": c.before}
			}
			bubble(t, o, func(t *testing.T, w *world) {
				first := w.get()
				w.storeText(c.after)
				time.Sleep(vending.DefaultSecretTTL)
				w.lines()
				a := w.get()
				if !c.closed {
					w.want(a, 200, "confirmed")
					return
				}
				w.want(a, 502, "app_misconfigured")
				if got := metricNames(w.lines()[0]); got != "PrincipalsUnreadable[app] Refusals[app error]" {
					t.Errorf("metrics %s", got)
				}
				w.want(w.revoke(), 502, "app_misconfigured")
				w.store(w.pair(w.app.Credentials()))
				time.Sleep(time.Second)
				w.want(w.get(), 200, "miss")
				if !w.org.TokenActive(first.token()) {
					t.Error("the token of the old version was revoked: others may hold it")
				}
			})
		})
	}
}

func TestABinaryValueThatHidesARestrictionKeepsCallersOut(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		value := w.pair(w.app.Credentials())
		value["allowedPrincipals"] = []string{"333333333333"}
		_, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: aws.String(secretName), SecretBinary: []byte(encode(value)),
		})
		w.must(err)
		time.Sleep(24 * time.Hour)
		w.want(w.get(), 502, "app_misconfigured")
	})
}

func TestASecretThatMayNoLongerBeReadIsAMetric(t *testing.T) {
	for code, want := range map[string]bool{"AccessDeniedException": true, "DecryptionFailure": true, "ResourceNotFoundException": false, "InternalServiceError": false} {
		t.Run(code, func(t *testing.T) {
			bubble(t, options{}, func(t *testing.T, w *world) {
				w.aws.InjectFault("GetSecretValue", localaws.Fault{Code: code}, 0)
				w.get()
				w.get() // from memory
				for _, line := range w.lines() {
					if got := strings.Contains(metricNames(line), "SecretAccessDenied[]"); got != want {
						t.Errorf("metrics %s", metricNames(line))
					}
				}
			})
		})
	}
}

func TestATestInvocationOfTheConsoleGetsNoToken(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			a := w.call(func(e map[string]any) {
				e["httpMethod"] = method
				e["requestContext"].(map[string]any)["stage"] = "test-invoke-stage"
			})
			w.want(a, 403, "access_denied")
		}
		if w.asked() != 0 || len(w.aws.Calls()) > 1 {
			t.Errorf("Salesforce was asked %d times, Secrets Manager %v", w.asked(), w.aws.Calls())
		}
		w.want(w.call(func(e map[string]any) { e["requestContext"].(map[string]any)["stage"] = "v1" }), 200, "miss")
	})
}

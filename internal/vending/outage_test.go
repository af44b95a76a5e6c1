package vending

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// outages are the ways in which Secrets Manager can fail.
var outages = map[string]localaws.Fault{
	"hang":                {Hang: true},
	"slow":                {Delay: time.Minute},
	"reset":               {Reset: true},
	"response lost":       {ResetAfterCommit: true},
	"not HTTP":            {BodyOnly: true},
	"500":                 {Code: "InternalServiceError", Status: 500},
	"throttling":          {Code: "ThrottlingException"},
	"expired credentials": {Code: "ExpiredTokenException"},
}

func TestSecretsManagerOutage(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			first := h.vend()
			h.AWS.InjectFault("", outage, 0)
			time.Sleep(DefaultSecretTTL)
			a := h.vend()
			h.want(a, "confirmed") // Salesforce is up
			if a.took > 5*time.Second {
				t.Errorf("a request for a known token waited %s for Secrets Manager", a.took)
			}
			if a.id() != first.id() || a.stats.Err == nil {
				t.Errorf("token %s, error %v", a.id(), a.stats.Err)
			}
			asked := h.AWS.Calls()["GetSecretValue"]
			h.want(h.vend(), "hit")
			if n := h.AWS.Calls()["GetSecretValue"] - asked; n != 0 {
				t.Errorf("Secrets Manager was called %d times during the backoff", n)
			}
			time.Sleep(11 * time.Minute) // the token must be confirmed; the credentials are still known
			h.want(h.vend(), "confirmed")
			h.Org.KillSession(first.token())
			time.Sleep(11 * time.Minute)
			h.want(h.vend(), "miss")

			key, secret := h.App.Regenerate()
			h.AWS.ClearFaults()
			h.Store(h.Value(key, secret))
			time.Sleep(31 * time.Second) // the longest backoff
			h.want(h.vend(), "miss")     // the new version is read
		})
	}
}

func TestColdStartDuringSecretsManagerOutage(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		subtest(t, name, options{}, func(t *testing.T, h *harness) {
			h.AWS.InjectFault("", outage, 0)
			a := h.vend()
			h.want(a, "temporarily_unavailable")
			h.wantOnTime(a)
			if h.Requests() != 0 {
				t.Error("Salesforce was called")
			}
			h.AWS.ClearFaults()
			time.Sleep(time.Second)
			h.want(h.vend(), "miss")
		})
	}
}

func TestUnreadableSecretIsUnknown(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"AccessDeniedException", "DecryptionFailure", "ResourceNotFoundException"} {
		subtest(t, code, options{}, func(t *testing.T, h *harness) {
			first := h.vend()
			h.want(first, "miss")
			h.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: code}, 0)
			time.Sleep(DefaultSecretTTL)
			a := h.vend() // the function may not read the secret any more
			h.want(a, "unknown_app")
			if !strings.Contains(a.err.Error(), code) || strings.Contains(a.description(), code) {
				t.Errorf("the log has %q, the caller gets %q", a.err, a.description())
			}
			h.AWS.ClearFaults()
			time.Sleep(5 * time.Second)
			h.want(h.vend(), "confirmed")
			h.want(h.revoke(), "revoked")
			h.wantDead(first)
		})
	}
}

func TestDeletedSecret(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.want(h.vend(), "miss")
		_, err := h.Secrets.DeleteSecret(t.Context(),
			&secretsmanager.DeleteSecretInput{SecretId: aws.String(simtest.SecretName)})
		h.Must(err)
		time.Sleep(DefaultSecretTTL)
		h.want(h.vend(), "unknown_app")
	})
}

// A call ends before its request must respond, so that the error tells what was slow.
func TestSlowCallIsExplained(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{3 * time.Second, 6 * time.Second} {
		for i := range 10 { // two timers at the same moment fire in any order
			subtest(t, fmt.Sprint(timeout, i), options{}, func(t *testing.T, h *harness) {
				h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 0)
				a := h.do(t.Context(), timeout, Request{Principal: billing})
				h.want(a, "temporarily_unavailable")
				if text := a.description(); !strings.Contains(text, "Salesforce cannot be asked") {
					t.Fatalf("with %s for the response: %q", timeout, text)
				}
			})
		}
	}
}

func TestResponseBeforeTimeout(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{
		200 * time.Millisecond, time.Second, 3 * time.Second, 15 * time.Second, 29 * time.Second,
	} {
		for name, inject := range map[string]func(h *harness){
			"Secrets Manager hangs": func(h *harness) { h.AWS.InjectFault("", localaws.Fault{Hang: true}, 0) },
			"Secrets Manager is slow, and then Salesforce hangs": func(h *harness) {
				h.AWS.InjectFault("", localaws.Fault{Delay: 3 * time.Second}, 0)
				h.Org.InjectFault(sfoauthtest.AllEndpoints, sfoauthtest.Hang(), 0)
			},
			"the login hangs":   func(h *harness) { h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Hang(), 0) },
			"the body trickles": func(h *harness) { h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Trickle(time.Second), 0) },
			"each fallback login is slow": func(h *harness) {
				h.App.Regenerate()
				for _, label := range []string{"CANDIDATE", "AWSPENDING"} { // storing a version moves AWSPENDING
					h.Store(h.Value("3MVG9"+label, label), label)
				}
				h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(5*time.Second), 0)
			},
		} {
			subtest(t, timeout.String()+", "+name, options{}, func(t *testing.T, h *harness) {
				inject(h)
				a := h.do(t.Context(), timeout, Request{Principal: billing})
				h.want(a, "temporarily_unavailable")
				if spare := timeout - a.took; spare < min(500*time.Millisecond, timeout/4) {
					t.Errorf("the response came %s before the end", spare)
				}
			})
		}
	}
}

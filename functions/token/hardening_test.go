package main

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/localaws"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// Another process's login has begun the session; introspection is refused.
func TestAnUnseenSessionWhileIntrospectionIsRefused(t *testing.T) {
	for _, noUse := range []bool{false, true} {
		t.Run(map[bool]string{false: "a login is use", true: "no use"}[noUse], func(t *testing.T) {
			o := options{org: sfoauthtest.Config{SessionTimeout: 15 * time.Minute, SharedSessions: true, LoginIsNoUse: noUse}, app: sfoauthtest.AppOptions{NoIntrospection: true}}
			bubble(t, o, func(t *testing.T, w *world) {
				w.get()
				time.Sleep(8 * time.Minute)
				w.get() // it is known now that introspection is refused
				w.org.RevokeAll()
				w.app.NewToken() // another process's login begins a session
				time.Sleep(7 * time.Minute)
				for range 20 {
					a := w.get()
					if a.status != 200 {
						t.Logf("%s", a)
						continue
					}
					if !noUse { // else nothing tells how long the session lives: see docs/how-it-works.md
						w.within(a)
					}
					if !w.org.Live(a.token()) {
						t.Errorf("dead token %s", a)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}

func TestALeakedTokenIsRevokedAfterABlipOfPermissions(t *testing.T) {
	for _, code := range []string{"AccessDeniedException", "ResourceNotFoundException"} {
		t.Run(code, func(t *testing.T) {
			bubble(t, options{config: vending.Config{SecretTTL: time.Minute}}, func(t *testing.T, w *world) {
				first := w.get()
				w.label("COMPROMISED")
				key, secret := w.app.Regenerate()
				w.store(w.pair(key, secret))
				w.aws.Fail("", localaws.Fault{Code: code, Status: 400}, 1)
				time.Sleep(time.Minute)
				w.get()
				w.aws.Heal()
				time.Sleep(time.Minute)
				w.want(w.get(), 200, "miss")
				if w.org.Live(first.token()) {
					t.Error("the token of the leaked credentials lives on")
				}
			})
		})
	}
}

// The login budget is spent while the cached token is for an older version. A caller reports it dead, and it is.
func TestADeadTokenIsNotServedWhileTheBudgetIsSpent(t *testing.T) {
	bubble(t, options{config: vending.Config{Logins: loginbudget.New(1, 1), SecretTTL: time.Second}}, func(t *testing.T, w *world) {
		first := w.get()
		value := w.pair(w.app.Pair())
		value["note"] = "x"
		w.store(value)
		time.Sleep(2 * time.Second)
		w.want(w.get(), 200, "stale")
		w.org.RevokeAll()
		dead := 0
		for range 100 {
			a := w.reject(first.id())
			if a.status == 200 && !w.org.Live(a.token()) {
				dead++
			}
			time.Sleep(10 * time.Second)
		}
		if dead > 2 {
			t.Errorf("a dead, reported token was handed out %d times", dead)
		}
	})
}

func TestABinaryRestrictionKeepsCallersOut(t *testing.T) {
	bubble(t, options{}, func(t *testing.T, w *world) {
		w.get()
		value := w.pair(w.app.Pair())
		value["allowedPrincipals"] = []string{"333333333333"}
		_, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(secretName), SecretBinary: []byte(encode(value))})
		w.must(err)
		time.Sleep(24 * time.Hour)
		if a := w.get(); a.status == 200 {
			t.Errorf("a caller who is not in the list gets a token a day later: %s", a)
		}
	})
}

package settings

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func env(values map[string]string) *Env {
	return FromEnv(func(name string) string { return values[name] })
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, unset := range []string{"", "  "} {
		e := FromEnv(func(string) string { return unset })
		got := fmt.Sprintln(e.Prefix(), e.Namespace(), e.Level("LOG_LEVEL"), e.Duration("TTL", time.Minute, 0, time.Hour),
			e.Hosts("HOSTS"), e.Apps("APPS"))
		if want := "sftoken/ sftoken INFO 1m0s [] []\n"; got != want || e.Err() != nil {
			t.Errorf("got %s, %v; want %s", got, e.Err(), want)
		}
	}
}

func TestValidSettings(t *testing.T) {
	t.Parallel()
	e := env(map[string]string{
		"SECRET_PREFIX": "prod/sf-", "LOG_LEVEL": "debug", "TTL": " 90s", "HOSTS": "127.0.0.1:80", "APPS": "crm, erp,",
	})
	if e.Prefix() != "prod/sf-" || e.Level("LOG_LEVEL") != slog.LevelDebug ||
		e.Duration("TTL", 0, 0, time.Hour) != 90*time.Second ||
		fmt.Sprint(e.Hosts("HOSTS"), e.Apps("APPS")) != "[127.0.0.1:80] [crm erp]" || e.Err() != nil {
		t.Errorf("a setting is not read as written: %v", e.Err())
	}
}

func TestIntBounds(t *testing.T) {
	t.Parallel()
	for value, ok := range map[string]bool{
		"": true, "10": true, " 3600 ": true, "0": false, "3601": false, "-1": false, "1.5": false, "many": false,
		"1e3": false,
	} {
		for _, name := range []string{"LOGIN_BURST", "LOGINS_PER_HOUR"} {
			e := env(map[string]string{name: value})
			if e.Budget(); (e.Err() == nil) != ok || e.Err() != nil && !strings.Contains(e.Err().Error(), name+"=") {
				t.Errorf("%s=%q: %v", name, value, e.Err())
			}
		}
	}
	e := env(map[string]string{"LOGIN_BURST": "2"})
	b := e.Budget()
	for n := range 3 {
		if err := b.Take("crm"); (err == nil) != (n < 2) {
			t.Errorf("LOGIN_BURST=2, login %d: %v", n+1, err)
		}
	}
}

func TestBool(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": false, "false": false, " true ": true} {
		e := env(map[string]string{"STANDBY": value})
		if got := e.Bool("STANDBY"); got != want || e.Err() != nil {
			t.Errorf("STANDBY=%q: %t, %v", value, got, e.Err())
		}
	}
}

func TestInvalidSettings(t *testing.T) {
	t.Parallel()
	e := env(map[string]string{
		"SECRET_PREFIX": "a b", "METRICS_NAMESPACE": "a\nb", "LOG_LEVEL": "loud", "TTL": "90", "TTL2": "25h",
		"HOSTS": "https://x", "APPS": "CRM", "STANDBY": "yes",
	})
	e.Prefix()
	e.Namespace()
	e.Level("LOG_LEVEL")
	e.Duration("TTL", 0, 0, time.Hour)
	e.Duration("TTL2", 0, 0, time.Hour)
	e.Hosts("HOSTS")
	e.Apps("APPS")
	e.Bool("STANDBY")
	for name := range strings.FieldsSeq("SECRET_PREFIX METRICS_NAMESPACE LOG_LEVEL TTL= TTL2= HOSTS APPS STANDBY") {
		if err := e.Err(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

func TestRequiredSettings(t *testing.T) {
	t.Parallel()
	for value, ok := range map[string]bool{
		"https://a.execute-api.us-east-1.amazonaws.com/v1": true, " https://sf.example.com ": true,
		"http://127.0.0.1:8080/v1": true, "": false, "a.example.com/v1": false, "https://": false, "ftp://a": false,
		"https://a/v1?b": false, "https://a/v1#b": false, "https://user@a/v1": false, "https://a:b": false,
	} {
		e := env(map[string]string{"API_URL": value})
		if got := e.URL("API_URL"); (e.Err() == nil) != ok || got != strings.TrimSpace(value) {
			t.Errorf("API_URL=%q: %q, %v", value, got, e.Err())
		}
	}
	for value, ok := range map[string]bool{"crm": true, "": false, "CRM": false} {
		e := env(map[string]string{"APP": value})
		if got := e.RequiredApp("APP"); (e.Err() == nil) != ok || got != value {
			t.Errorf("APP=%q: %q, %v", value, got, e.Err())
		}
	}
}

// Package settings reads a function's settings from its environment, and reports all that are invalid at once.
package settings

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Env reads settings and collects their errors. A setting that is empty or white space counts as not set:
// CloudFormation cannot leave a variable out.
type Env struct {
	lookup func(string) string
	errs   []error
}

// FromEnv returns an Env that looks names up with lookup, as os.Getenv does.
func FromEnv(lookup func(string) string) *Env { return &Env{lookup: lookup} }

// Err returns the errors of all settings, each with the name of its setting; nil: all are valid.
func (e *Env) Err() error { return errors.Join(e.errs...) }

// String returns the setting, or defaultValue if it is not set. It has at most that many characters, each a letter, a
// digit or one of the others.
func (e *Env) String(name, defaultValue, others string, most int) string {
	value := e.get(name)
	if len(value) > most || strings.Trim(value, alphanumeric+others) != "" {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want at most %d letters, digits and %s", name, value, most, others))
	}
	return cmp.Or(value, defaultValue)
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// Duration returns the setting, like "90s" or "5m", or defaultValue if it is not set. It must be from least to most.
func (e *Env) Duration(name string, defaultValue, least, most time.Duration) time.Duration {
	value := e.get(name)
	if value == "" {
		return defaultValue
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want a duration from %s to %s, like 90s or 5m", name, value, least, most))
		return defaultValue
	}
	return d
}

// Int returns the setting as a whole number, or defaultValue if it is not set. It must be from least to most.
func (e *Env) Int(name string, defaultValue, least, most int) int {
	value := e.get(name)
	if value == "" {
		return defaultValue
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want a whole number from %d to %d", name, value, least, most))
		return defaultValue
	}
	return n
}

// Budget returns the login budget that LOGIN_BURST and LOGINS_PER_HOUR set. Salesforce allows a user 3,600 logins an
// hour; with fewer than 10 a rotation could not finish within Lambda's 15 minutes.
func (e *Env) Budget() *loginbudget.Budget {
	return loginbudget.New(
		e.Int("LOGIN_BURST", loginbudget.DefaultBurst, 1, 3600),
		e.Int("LOGINS_PER_HOUR", loginbudget.DefaultPerHour, 10, 3600))
}

// Level returns a log level; not set: info.
func (e *Env) Level(name string) slog.Level {
	level := slog.LevelInfo
	if value := e.get(name); value != "" && level.UnmarshalText([]byte(value)) != nil {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want debug, info, warn or error", name, value))
	}
	return level
}

// Table returns the name of a DynamoDB table; not set: empty. Source of the rule: CreateTable in the DynamoDB API
// Reference.
func (e *Env) Table(name string) string {
	value := e.String(name, "", "_.-", 255)
	if value != "" && len(value) < 3 {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: a table's name has at least 3 characters", name, value))
	}
	return value
}

// Bool returns the setting, true or false; not set: false.
func (e *Env) Bool(name string) bool {
	value := e.get(name)
	if value != "" && value != "true" && value != "false" {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want true or false", name, value))
	}
	return value == "true"
}

// Hosts returns a list of hosts; not set: none.
func (e *Env) Hosts(name string) sfoauth.AllowedHosts {
	hosts, err := sfoauth.ParseAllowedHosts(e.get(name))
	if err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s: %w", name, err))
	}
	return hosts
}

// App returns an app's name; not set: empty.
func (e *Env) App(name string) string {
	value := e.get(name)
	if value != "" && !appsecret.ValidName(value) {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want an app's name, %s", name, value, appsecret.NamePattern))
	}
	return value
}

// RequiredApp returns an app's name, which must be set.
func (e *Env) RequiredApp(name string) string {
	value := e.App(name)
	if value == "" {
		e.errs = append(e.errs, fmt.Errorf("%s is not set: want an app's name", name))
	}
	return value
}

// URL returns the address of an API, which must be set. Whether it may be http is left to pkg/sftoken.
func (e *Env) URL(name string) string {
	value := e.get(name)
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.ContainsAny(value, "?#") {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want a URL, like https://<id>.execute-api.<region>.amazonaws.com/v1",
			name, value))
	}
	return value
}

// Apps returns a list of apps' names, separated by commas; not set: none.
func (e *Env) Apps(name string) []string {
	var apps []string
	for app := range strings.SplitSeq(e.get(name), ",") {
		if app = strings.TrimSpace(app); app == "" {
			continue
		}
		if !appsecret.ValidName(app) {
			e.errs = append(e.errs, fmt.Errorf("%s: %q is not an app's name: want %s", name, app, appsecret.NamePattern))
		}
		apps = append(apps, app)
	}
	return apps
}

func (e *Env) get(name string) string { return strings.TrimSpace(e.lookup(name)) }

// Prefix returns SECRET_PREFIX, which precedes an app's name in its secret's name. Source of the letters:
// CreateSecret in the Secrets Manager API Reference.
func (e *Env) Prefix() string { return e.String("SECRET_PREFIX", "sftoken/", "/_+=.@-", 256) }

// Namespace returns METRICS_NAMESPACE, under which CloudWatch files the metrics. Source of the letters: MetricDatum's
// Namespace in the CloudWatch API Reference.
func (e *Env) Namespace() string { return e.String("METRICS_NAMESPACE", "sftoken", "._/#:-", 255) }

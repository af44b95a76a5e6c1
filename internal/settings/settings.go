// Package settings reads a function's settings from its environment and says, all at once, which of them do not parse.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// Env reads settings and collects what is wrong with them. A setting that is empty or white space counts as not set:
// CloudFormation cannot leave a variable out.
type Env struct {
	lookup func(string) string
	errs   []error
}

// From returns an Env that looks names up with lookup, as os.Getenv does.
func From(lookup func(string) string) *Env { return &Env{lookup: lookup} }

// Err returns everything that was wrong, each with the name of its setting; nil: nothing.
func (e *Env) Err() error { return errors.Join(e.errs...) }

// String returns the setting, or byDefault where it is not set. It must match pattern.
func (e *Env) String(name, byDefault string, pattern *regexp.Regexp) string {
	value := e.get(name)
	switch {
	case value == "":
		return byDefault
	case !pattern.MatchString(value):
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want %s", name, value, pattern))
	}
	return value
}

// Duration returns the setting, like "90s" or "5m", or byDefault where it is not set. It must lie between least and most.
func (e *Env) Duration(name string, byDefault, least, most time.Duration) time.Duration {
	value := e.get(name)
	if value == "" {
		return byDefault
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want a duration from %s to %s, like 90s or 5m", name, value, least, most))
		return byDefault
	}
	return d
}

// Level returns a log level; not set: info.
func (e *Env) Level(name string) slog.Level {
	level := slog.LevelInfo
	if value := e.get(name); value != "" && level.UnmarshalText([]byte(value)) != nil {
		e.errs = append(e.errs, fmt.Errorf("%s=%q: want debug, info, warn or error", name, value))
	}
	return level
}

// Hosts returns a list of hosts; not set: none.
func (e *Env) Hosts(name string) sfoauth.Hosts {
	hosts, err := sfoauth.ParseHosts(e.get(name))
	if err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s: %w", name, err))
	}
	return hosts
}

// Apps returns a list of apps' names, separated by commas; not set: none.
func (e *Env) Apps(name string) []string {
	var apps []string
	for app := range strings.SplitSeq(e.get(name), ",") {
		if app = strings.TrimSpace(app); app == "" {
			continue
		}
		if !appsecret.ValidName(app) {
			e.errs = append(e.errs, fmt.Errorf("%s: %q is no app's name: want [a-z0-9][a-z0-9-]{0,62}", name, app))
		}
		apps = append(apps, app)
	}
	return apps
}

func (e *Env) get(name string) string { return strings.TrimSpace(e.lookup(name)) }

var (
	// prefixPattern is what a secret's name may start with. Source: CreateSecret in the Secrets Manager API Reference.
	prefixPattern = regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,256}$`)
	// namespacePattern is CloudWatch's. Source: MetricDatum's Namespace in the CloudWatch API Reference.
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9._/#:-]{1,255}$`)
)

// Prefix returns SECRET_PREFIX, which stands in front of an app's name in its secret's name.
func (e *Env) Prefix() string { return e.String("SECRET_PREFIX", "sftoken/", prefixPattern) }

// Namespace returns METRICS_NAMESPACE, under which CloudWatch files the metrics.
func (e *Env) Namespace() string { return e.String("METRICS_NAMESPACE", "sftoken", namespacePattern) }

package tokenapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

func TestAuditLine(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Latency(120*time.Millisecond), 1)
		first := h.get()
		h.get()
		h.reject(first.id())
		h.revoke()
		h.call(as("arn:aws:iam::333333333333:root"))
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), 0)
		h.revoke()
		h.get()
		simtest.Golden(t, "audit.golden", mask(h))
		h.NoSecrets(h.log.String())
	})
}

// mask replaces what differs from run to run, and indents.
func mask(h *harness) string {
	var out strings.Builder
	ids := map[string]string{h.Org.ID(): "ORG", h.App.User.ID: "USER", h.Current(): "VERSION"}
	for _, fields := range h.lines() {
		for name, value := range fields {
			if text, ok := value.(string); ok && ids[text] != "" {
				fields[name] = ids[text]
			}
			if name == "token_id" {
				fields[name] = "TOKEN"
			}
			if number, ok := value.(float64); ok && strings.HasSuffix(name, "_ms") && number < 5 {
				fields[name] = 0
			}
		}
		encoded, err := json.MarshalIndent(fields, "", "  ")
		h.Must(err)
		out.Write(append(encoded, '\n'))
	}
	return out.String()
}

func TestLogFieldsAreBounded(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		long := strings.Repeat("x\n\u2028\"é", 1000)
		h.call(func(e map[string]any) {
			e["pathParameters"], e["path"] = map[string]any{"app": long}, "/tokens/"+long
			e["requestContext"].(map[string]any)["requestId"] = "req-2"
		})
		h.call(func(e map[string]any) { e["httpMethod"] = long })
		if text := h.log.String(); len(text) > 2000 || strings.Count(text, "\n") != 2 {
			t.Errorf("%d characters in %d lines", len(text), strings.Count(text, "\n"))
		}
	})
}

// The audit line names the entry of the current list that allows the caller, in every response that follows from it.
func TestAuditAllowedBy(t *testing.T) {
	const role, account = "arn:aws:iam::222222222222:role/bill*", "222222222222"
	list := func(entries ...string) map[string]any { return map[string]any{"allowedPrincipals": entries} }
	run(t, options{secret: list("333333333333", role, account)}, func(t *testing.T, h *harness) {
		next := func(outcome, want string) {
			t.Helper()
			line := h.lines()[0]
			if got, _ := line["allowed_by"].(string); got != want || line["outcome"] != outcome {
				t.Errorf("%v: allowed_by is %q, want %q", line["outcome"], got, want)
			}
		}
		h.want(h.get(), 200, "miss")
		next("ok", role)
		h.want(h.get(), 200, "hit")
		next("ok", role)
		h.want(h.call(as("arn:aws:iam::222222222222:user/anna")), 200, "hit")
		next("ok", account)
		h.want(h.call(as("arn:aws:iam::444444444444:user/anna")), 403, "access_denied")
		next("access_denied", "")
		h.want(h.revoke(), 204, "")
		next("ok", role)
		h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.ErrorResponse(400, "invalid_grant", "ip restricted"), 1)
		h.want(h.get(), 502, "app_misconfigured") // admitted, but Salesforce refuses the app
		next("app_misconfigured", role)
		h.StoreWith("allowedPrincipals", []string{account})
		time.Sleep(vending.DefaultSecretTTL)
		h.want(h.get(), 200, "miss")
		next("ok", account)
		h.Store(h.Value(h.App.Credentials()))
		time.Sleep(vending.DefaultSecretTTL)
		h.get()
		if entry, present := h.lines()[0]["allowed_by"]; present {
			t.Errorf("without a list, allowed_by is %q", entry)
		}
		h.StoreWith("allowedPrincipals", []string{account + strings.Repeat(" ", maxAllowedByField)})
		time.Sleep(vending.DefaultSecretTTL)
		h.get()
		if entry, _ := h.lines()[0]["allowed_by"].(string); len(entry) != maxAllowedByField {
			t.Errorf("a long entry takes %d bytes in the log", len(entry))
		}
	})
}

func TestAuditUserAgent(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		for sent, want := range map[any]string{
			"sftoken-cli/1.2.3":                   "sftoken-cli/1.2.3",
			nil:                                   "",
			42:                                    "",
			`","outcome":"ok","x":"`:              `","outcome":"ok","x":"`,
			"a\r\nb\x00\u2028\u202e\\":            "a\r\nb\x00\u2028\u202e\\",
			strings.Repeat("x", 257):              strings.Repeat("x", 256),
			strings.Repeat("x", 255) + "é and on": strings.Repeat("x", 255), // not half of a character
			strings.Repeat("🙂", 5000):             strings.Repeat("🙂", 64),
		} {
			for _, name := range []string{"GET", "POST", "DELETE", "PUT"} {
				h.call(func(e map[string]any) {
					e["httpMethod"] = name
					e["requestContext"].(map[string]any)["identity"].(map[string]any)["userAgent"] = sent
				})
				if got := h.lines()[0]["caller"].(map[string]any)["user_agent"]; got != want {
					t.Errorf("%s: %.40q is logged as %.40q, want %.40q", name, sent, got, want)
				}
			}
		}
	})
}

// API Gateway puts the header into the event, also that of a client without one.
func TestAuditUserAgentOfRequest(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		_, clients := newCallers(h, 1)
		resp, err := clients[0].Get("/services/data/v65.0/limits")
		h.Must(err)
		h.Must(resp.Body.Close())
		if got := h.lines()[0]["caller"].(map[string]any)["user_agent"]; got == "" || got == nil {
			t.Errorf("the user agent of the request is logged as %q", got)
		}
	})
}

func TestDeclaredMetrics(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.get()
		h.get()
		h.call(as("x"))
		h.call(func(e map[string]any) { e["httpMethod"] = "PUT" })
		var got []string
		for _, line := range h.lines() {
			got = append(got, metricNames(line))
			for _, entry := range line["_aws"].(map[string]any)["CloudWatchMetrics"].([]any) {
				fields := entry.(map[string]any)
				for _, name := range append(
					fields["Dimensions"].([]any)[0].([]any), fields["Metrics"].([]any)[0].(map[string]any)["Name"],
				) {
					if line[name.(string)] == nil {
						t.Errorf("%s is declared and missing in %v", name, slices.Sorted(maps.Keys(line)))
					}
				}
			}
		}
		want := []string{
			"LoginLatency[app] Logins[app] Vends[app]",
			"CacheHits[app] Vends[app]",
			"CacheHits[app] Vends[app]",
			"Refusals[error]",
		}
		if !slices.Equal(got, want) {
			t.Errorf("metrics %q, want %q", got, want)
		}
	})
}

func TestAuditOfSharedTokens(t *testing.T) {
	o := options{table: true}
	run(t, o, func(t *testing.T, h *harness) {
		h.Tables.SetLatency(3 * time.Millisecond)
		next := func(shared any, tableMS float64, metrics string) {
			t.Helper()
			lines := h.lines()
			line := lines[len(lines)-1]
			if line["shared"] != shared || line["table_ms"] != tableMS || metricNames(line) != metrics {
				t.Errorf("shared is %v, table_ms %v, the metrics are %s", line["shared"], line["table_ms"], metricNames(line))
			}
		}
		h.want(h.get(), 200, "miss")
		next(nil, 12, "LoginLatency[app] Logins[app] Vends[app]") // read with the secret, read, lease, write
		h.handler = h.newHandler(o)
		h.want(h.get(), 200, "hit")
		next(true, 3, "CacheHits[app] SharedHits[app] Vends[app]")
		h.want(h.get(), 200, "hit")
		if lines := h.lines(); lines[0]["shared"] != nil || lines[0]["table_ms"] != nil {
			t.Errorf("a token from memory has the fields of the table: %v", lines[0])
		}
		h.handler = h.newHandler(o)
		h.Tables.InjectFault("", localaws.TableFault{Code: "ThrottlingException"}, 1)
		h.want(h.get(), 200, "miss")
		next(nil, 3, "LoginLatency[app] Logins[app] SharedErrors[] Vends[app]")
		if text := h.log.String(); !strings.Contains(text, "reading the item of app crm in the token table") {
			t.Errorf("the failure is not in the log: %s", text)
		}
	})
}

func TestMadeUpAppIsNoDimension(t *testing.T) {
	madeUp := func(e map[string]any) {
		e["pathParameters"], e["path"] = map[string]any{"app": "made-up"}, "/tokens/made-up"
	}
	run(t, options{secret: map[string]any{"allowedPrincipals": []string{"222222222222"}}}, func(t *testing.T, h *harness) {
		for _, c := range []struct {
			change func(map[string]any)
			want   string
		}{
			{as("arn:aws:iam::333333333333:root"), "Refusals[app error]"}, {as(""), "Refusals[error]"},
			{madeUp, "Refusals[error]"},
		} {
			h.call(c.change)
			if got := metricNames(h.lines()[0]); got != c.want {
				t.Errorf("metrics %s, want %s", got, c.want)
			}
		}
		time.Sleep(time.Minute)
		h.AWS.InjectFault("", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
		h.want(h.call(madeUp), 503, "temporarily_unavailable")
		if got := metricNames(h.lines()[0]); got != "Refusals[error]" {
			t.Errorf("while Secrets Manager is down: metrics %s", got)
		}
	})
}

// metricNames lists the metrics that a line declares to CloudWatch, with their dimensions.
func metricNames(line map[string]any) string {
	var names []string
	directive, _ := line["_aws"].(map[string]any)
	entries, _ := directive["CloudWatchMetrics"].([]any)
	for _, entry := range entries {
		fields := entry.(map[string]any)
		metric := fields["Metrics"].([]any)[0].(map[string]any)["Name"]
		names = append(names, fmt.Sprint(metric, fields["Dimensions"].([]any)[0]))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestSecretAccessDeniedMetric(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"AccessDeniedException": true, "DecryptionFailure": true, "ResourceNotFoundException": false,
		"InternalServiceError": false,
	} {
		subtest(t, code, options{}, func(t *testing.T, h *harness) {
			h.AWS.InjectFault("GetSecretValue", localaws.Fault{Code: code}, 0)
			h.get()
			h.get() // from memory
			for _, line := range h.lines() {
				if got := strings.Contains(metricNames(line), "SecretAccessDenied[]"); got != want {
					t.Errorf("metrics %s", metricNames(line))
				}
			}
		})
	}
}

func TestLoginBudgetExhaustedMetric(t *testing.T) {
	t.Parallel()
	config := func() vending.Config { return vending.Config{Logins: loginbudget.New(1, 60), SecretTTL: time.Second} }
	subtest(t, "no token", options{config: config()}, func(t *testing.T, h *harness) {
		h.want(h.get(), 200, "miss")
		h.want(h.revoke(), 204, "")
		h.lines()
		for range 3 {
			a := h.get()
			h.want(a, 503, "temporarily_unavailable")
			if after := a.header.Get("Retry-After"); after != "60" ||
				!strings.Contains(a.text("error_description"), "LOGIN_BURST") {
				t.Errorf("%s, Retry-After %s", a, after)
			}
		}
		for _, line := range h.lines() {
			if cause := fmt.Sprint(line["cause"]); !strings.Contains(metricNames(line), "LoginBudgetExhausted[app]") ||
				!strings.Contains(cause, "login budget") {
				t.Errorf("metrics %s, cause %q", metricNames(line), cause)
			}
		}
	})
	subtest(t, "stale token", options{config: config()}, func(t *testing.T, h *harness) {
		h.want(h.get(), 200, "miss")
		h.StoreWith("allowedPrincipals", []string{"222222222222"}) // a new version, so that a login is due
		time.Sleep(2 * time.Second)
		h.lines()
		for range 2 { // the failure itself, and the backoff
			h.want(h.get(), 200, "stale")
		}
		for _, line := range h.lines() {
			if warning := fmt.Sprint(line["warning"]); !strings.Contains(metricNames(line), "LoginBudgetExhausted[app]") ||
				!strings.Contains(warning, "login budget") {
				t.Errorf("metrics %s, warning %q", metricNames(line), warning)
			}
		}
	})
}

func TestPrincipalsUnreadableMetric(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]struct {
		status int
		code   string
	}{
		`{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","allowedPrincipals":"222222222222"}`: {
			403, "access_denied",
		},
		`{"consumerKey":"k","consumerSecret":"s","baseUri":"http://x","allowed_principals":["222222222222"]}`: {
			502, "app_misconfigured",
		},
	} {
		subtest(t, want.code, options{}, func(t *testing.T, h *harness) {
			h.StoreText(value)
			for _, name := range []string{"GET", "POST", "DELETE"} {
				h.want(h.call(method(name)), want.status, want.code)
			}
			for _, line := range h.lines() {
				if got := metricNames(line); got != "PrincipalsUnreadable[app] Refusals[app error]" {
					t.Errorf("metrics %s", got)
				}
			}
		})
	}
}

// A request can succeed although a call failed, or although another token was revoked. The audit line reports both.
func TestAuditLineWithWarning(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		h.want(h.get(), 200, "miss")
		compromised := h.Current()
		h.Label(appsecret.Compromised, compromised)
		h.Store(h.Value("3MVG9wrong", "wrong"))
		h.Store(h.Value(h.App.Regenerate()), appsecret.Candidate)
		time.Sleep(vending.DefaultSecretTTL)
		h.lines()
		h.want(h.get(), 200, "miss")
		line := h.lines()[0]
		if warning := fmt.Sprint(line["warning"]); !strings.Contains(warning, "revoked token") {
			t.Errorf("the warning is %q", warning)
		}
		if version := line["secret_version"]; version != h.VersionWithLabel(appsecret.Candidate) {
			t.Errorf("secret_version is %v, which is not CANDIDATE's", version)
		}
		h.AWS.InjectFault("", localaws.Fault{Code: "InternalServiceError", Status: 500}, 0)
		time.Sleep(vending.DefaultSecretTTL)
		h.want(h.get(), 200, "confirmed")
		if line := h.lines()[0]; line["upstream_error"] == nil {
			t.Error("the line lacks the error of Secrets Manager")
		}
		h.NoSecrets(h.log.String())
	})
}

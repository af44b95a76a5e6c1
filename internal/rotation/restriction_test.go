package rotation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// A version that restricts callers is not rolled back to one that admits more, regardless of what else is wrong with
// it.
func TestRestrictionIsNotRolledBack(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	account, role := []string{"222222222222"}, []string{"arn:aws:iam::222222222222:role/billing"}
	allow := func(list any) fields { return fields{"allowedPrincipals": list} }
	wrongSecret := func(list any) fields { return fields{"allowedPrincipals": list, "consumerSecret": "wrong"} }
	noSecret := fields{"allowedPrincipals": account, "consumerSecret": nil}
	for _, test := range []struct {
		name          string
		before, after fields
		stays         bool
	}{
		{"a list, and wrong credentials", nil, wrongSecret(account), true},
		{"the same list, and wrong credentials", allow(account), wrongSecret(account), false},
		{"a shorter list, and wrong credentials", allow(account), wrongSecret(role), true},
		{"a longer list, and wrong credentials", allow(role), wrongSecret(account), false},
		{"no list, and wrong credentials", allow(role), fields{"consumerSecret": "wrong"}, false},
		{"a malformed list", nil, allow("222222222222"), true},
		{"a malformed list over a good one", allow(account), allow([]string{"2222"}), true},
		{"a malformed list, and wrong credentials", allow(account), wrongSecret([]string{"2222"}), true},
		{"a misspelt list", nil, fields{"allowedPrincipal": account}, true},
		{"a misspelt list over a good one", allow(account), fields{"AllowedPrincipals": role}, true},
		{"a list without credentials", nil, noSecret, true},
		{"the same list without credentials", allow(account), noSecret, false},
		{"a misspelt pin", nil, fields{"orgID": "00Dxx0000000001"}, false}, // it keeps no caller out
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, options{}, func(_ *testing.T, h *harness) {
				want := h.storeValue("AWSCURRENT", test.before)
				h.deliver()
				after := h.storeValue("AWSCURRENT", test.after)
				h.deliver()
				if test.stays {
					want = after
				}
				h.labels("AWSCURRENT", want)
				if strings.HasPrefix(test.name, "a malformed list") {
					h.logged(`"app":"crm"`, after, `"level":"ERROR"`, `"PrincipalsUnreadable":1`, "allowedPrincipals: ")
				} else if test.stays {
					h.logged(after, `"outcome":"stuck"`, `"RotationFailures":1`, "allowedPrincipals")
				}
				h.noSecrets()
			})
		})
	}
}

func TestUnreadableRestrictionIsNotRolledBack(t *testing.T) {
	runAll(t, options{}, map[string]func(h *harness) string{
		"binary": func(h *harness) string {
			value := simtest.Encode(h.value(h.App, map[string]any{"allowedPrincipals": []string{"222222222222"}}))
			out, err := h.Secrets.PutSecretValue(h.T.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: aws.String(crm), SecretBinary: []byte(value),
			})
			h.Must(err)
			return *out.VersionId
		},
		"misspelt, in invalid JSON": func(h *harness) string {
			value := strings.TrimSuffix(simtest.Encode(h.value(h.App, nil)), "}")
			return h.StoreText(value+`,"allowedPrinciples":["222222222222"],}`, "AWSCURRENT")
		},
	}, func(_ *testing.T, h *harness, store func(h *harness) string) {
		version := store(h)
		h.deliver()
		h.labels("AWSCURRENT", version)
	})
}

// The line of an event that fails has what was known before.
func TestUnreadableRestrictionIsReportedDuringOutage(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"CANDIDATE", "AWSCURRENT"} {
		t.Run(label, func(t *testing.T) {
			run(t, options{}, func(_ *testing.T, h *harness) {
				version := h.storeValue(label, map[string]any{"allowedPrincipals": []string{"2222"}})
				h.Org.InjectFault(sfoauthtest.Token, sfoauthtest.Maintenance(), 0)
				h.deliver()
				h.logged(fmt.Sprintf(`"label":%q`, label), `"app":"crm"`, version, `"outcome":"failed"`, `"PrincipalsUnreadable":1`)
				h.noSecrets()
			})
		})
	}
}

func TestCandidateThatDeniesEveryoneIsRejected(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]bool{"by its event": false, "by a rotation": true} {
		t.Run(name, func(t *testing.T) {
			run(t, options{noIDs: rotate}, func(_ *testing.T, h *harness) {
				before := h.version("AWSCURRENT")
				version := h.storeValue("CANDIDATE", map[string]any{"allowedPrincipals": []string{"2222"}})
				if rotate {
					h.rotate()
					h.logged(`"step":"createSecret"`, `"outcome":"failed"`, "would deny every caller")
				}
				h.deliver()
				h.labels("AWSCURRENT", before, "REJECTED", version)
			})
		})
	}
}

package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

var replicationSetups = []setup{
	{name: "a region that has a secret of the same name", as: oncall, change: func(w *harness) {
		_, standby := w.standby()
		_, err := standby.CreateSecret(w.Context(), &secretsmanager.CreateSecretInput{
			Name: aws.String("sftoken/crm"), SecretString: aws.String("{}"),
		})
		w.must(err)
		w.replicate()
	}, cause: "replication", found: "failed to us-west-2: Secret with this name already exists in this region",
		fix: "ReplicationFails"},
	{name: "a replica that is behind", as: oncall, change: func(w *harness) {
		w.standby()
		w.regions.SetLag(time.Hour)
		w.replicate()
	}, cause: "replication", status: doctor.Warning, found: "not in sync with us-west-2 (InProgress)", fix: "check again"},
	{name: "rejected credentials in a replica", as: oncall, change: func(w *harness) {
		w.put(w.value(), "REJECTED")
		w.useStandby()
	}, cause: "labels", status: doctor.Warning, found: "REJECTED", fix: "`sftoken secret stage crm --region us-east-1`"},
	{name: "a stuck rotation in a replica", as: oncall, change: func(w *harness) {
		w.ago(3*time.Hour, func() { w.put(w.value()); w.halfDone("createSecret"); w.useStandby() })
	}, cause: "stuck-rotation", found: "unchanged for 3 hours", fix: "`sftoken rotate crm --wait --region us-east-1`"},
	{name: "a placeholder in a replica", change: func(w *harness) {
		w.change(map[string]any{"consumerKey": "replace-me", "consumerSecret": "replace-me"})
		w.useStandby()
	}, cause: "value", found: "placeholder", fix: "`sftoken secret put crm --region us-east-1`", also: []string{"token"}},
	{name: "a promoted replica", as: oncall, change: func(w *harness) {
		url, standby := w.standby()
		w.replicate()
		w.useStandbyAt(url)
		_, err := standby.StopReplicationToReplica(w.Context(),
			&secretsmanager.StopReplicationToReplicaInput{SecretId: aws.String("sftoken/crm")})
		w.must(err)
	}, cause: "schedule", status: doctor.Warning, found: "rotation is off", fix: "Standby=promoted"},
}

func TestReplication(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(w *harness)
		found  map[string]string // by check
	}{
		{"without replicas", func(*harness) {}, map[string]string{"replication": "not replicated to another region"}},
		{"with a replica", func(w *harness) { w.standby(); w.replicate() },
			map[string]string{"replication": "in sync with us-west-2", "schedule": "on, rate(30 days)"}},
		{"a replica", (*harness).useStandby, map[string]string{
			"secret": "sftoken/crm in us-west-2", "replication": "a replica of the secret in us-east-1, which rotates there",
			"schedule": "that of the secret in us-east-1", "rotation-dates": "those of the secret in us-east-1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newHarness(t, sfoauthtest.Config{}, nil)
			c.change(w)
			report := doctor.Run(t.Context(), w.config)
			for check, found := range c.found {
				if got := find(report, check); got.Status != doctor.OK || !strings.Contains(got.Found, found) {
					t.Errorf("%s: %s: %s; want %q", check, got.Status, got.Found, found)
				}
			}
			if report.Outcome != doctor.OK {
				t.Errorf("the outcome is %s: %+v", report.Outcome, report.Checks)
			}
		})
	}
}

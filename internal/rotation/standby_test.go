package rotation_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/rotateapi"
	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/telemetry"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

const standbyFunctionARN = "arn:aws:lambda:us-west-2:111111111111:function:sftoken-rotate"

// standby is the stack of a second region: its rotate function, its token function's core, and the replica of crm.
type standby struct {
	h      *harness
	bus    *localaws.EventBus
	log    localaws.SyncBuffer
	handle *rotateapi.Handler
	vendor *vending.Vendor // that of a process that has run since the beginning
	writes []string        // the operations other than reads that Secrets Manager has received there
}

func (s *standby) config() *localaws.SecretsManagerConfig {
	s.bus = &localaws.EventBus{Function: s.invoke, Pause: time.Minute}
	return &localaws.SecretsManagerConfig{
		LabelMoved: s.bus.LabelMoved, Functions: map[string]localaws.Invoker{standbyFunctionARN: s.invoke},
		OnCall: func(c localaws.Call) {
			reads := []string{"DescribeSecret", "GetSecretValue", "ListSecrets"}
			if c.Phase == localaws.Arrived && !slices.Contains(reads, c.Operation) {
				s.writes = append(s.writes, c.Operation)
			}
		},
	}
}

func (s *standby) start(h *harness) {
	s.h = h
	s.handle = &rotateapi.Handler{
		Log: telemetry.New(&s.log, 0, "sftoken", "test"),
		Rotator: &rotation.Rotator{
			Secrets: h.StandbySecrets, Lister: h.StandbySecrets, Prefix: simtest.Prefix,
			Hosts: sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.HTTPClient(),
			Propagation: h.options.propagation, Logins: loginbudget.New(0, 0),
		},
	}
	if h.options.adminApp {
		s.handle.Rotator.AdminApp = "admin"
		_, err := h.Secrets.ReplicateSecretToRegions(h.T.Context(), &secretsmanager.ReplicateSecretToRegionsInput{
			SecretId:          aws.String("sftoken/admin"),
			AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String(simtest.StandbyRegion)}},
		})
		h.Must(err)
	}
	h.Replicate()
	s.vendor = h.newVendor(h.StandbySecrets, true)
}

func (s *standby) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Minute)
	defer cancel()
	return s.handle.Invoke(ctx, payload)
}

// newVendor returns a new process of a region's token function.
func (h *harness) newVendor(secrets *secretsmanager.Client, standby bool) *vending.Vendor {
	return vending.New(vending.Config{
		Secrets: appsecret.Reader{Client: secrets, Prefix: simtest.Prefix}, Standby: standby,
		Hosts: sfoauth.AllowedHosts{simtest.OrgHost}, HTTPClient: h.HTTPClient(), Logins: loginbudget.New(1000, 1000),
	})
}

func (h *harness) vendFrom(vendor *vending.Vendor) error {
	request := vending.Request{App: simtest.AppName, Principal: "arn:aws:iam::222222222222:user/x"}
	grant, err := vendor.Vend(h.T.Context(), request, &vending.CallStats{})
	if err == nil && !h.Org.TokenActive(grant.Token.AccessToken.Reveal()) {
		h.T.Error("the token is dead")
	}
	return err
}

// vends checks that the process that has always run gets a token there, and a new one too.
func (s *standby) vends(when string) {
	s.h.T.Helper()
	for what, vendor := range map[string]*vending.Vendor{
		"the running process": s.vendor, "a new process": s.h.newVendor(s.h.StandbySecrets, true),
	} {
		if err := s.h.vendFrom(vendor); err != nil {
			s.h.T.Errorf("%s %s cannot vend: %v", when, what, err)
		}
	}
}

func (s *standby) deliver() {
	s.h.T.Helper()
	_, err := s.bus.Deliver(s.h.T.Context())
	s.h.Must(err)
}

// check invokes the function there for the daily check.
func (s *standby) check() {
	s.h.T.Helper()
	_, err := s.invoke(s.h.T.Context(), []byte(`{"source":"aws.events","detail-type":"Scheduled Event"}`))
	s.h.Must(err)
}

// rotate requests a rotation of the secret there, as the rotation schedule of a promoted stack does.
func (s *standby) rotate() error {
	_, err := s.h.StandbySecrets.RotateSecret(s.h.T.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(crm), RotationLambdaARN: aws.String(standbyFunctionARN),
	})
	return err
}

// as runs f with the harness's helpers reading the secret of the standby region.
func (s *standby) as(f func()) {
	primary := s.h.Secrets
	s.h.Secrets = s.h.StandbySecrets
	defer func() { s.h.Secrets = primary }()
	f()
}

// logged checks that the log of the function there has a line with all of the texts.
func (s *standby) logged(texts ...string) {
	s.h.T.Helper()
	primary := s.h.log
	s.h.log = &s.log
	defer func() { s.h.log = primary }()
	s.h.logged(texts...)
}

// The rotate function of a standby region writes nothing to a replica, and changes nothing at Salesforce.
func TestReplicaIsNeverChanged(t *testing.T) {
	s := &standby{}
	run(t, options{standby: s}, func(t *testing.T, h *harness) {
		h.onOrg = func(c sfoauthtest.Call) {
			if c.Phase == sfoauthtest.Arrived && changesCredentials(c) {
				t.Errorf("%s was called", c.Endpoint)
			}
		}
		idle := func(what string, f func()) {
			t.Helper()
			before := h.Logins()
			if f(); h.Logins() != before {
				t.Errorf("%d logins for %s", h.Logins()-before, what)
			}
		}
		current := h.version("AWSCURRENT")
		idle("the first label", s.deliver)
		s.logged(`"label":"AWSCURRENT"`, `"outcome":"ok"`,
			"the secret is a replica, and the rotate function of its primary secret in us-east-1 reacts")
		h.storeSame("CANDIDATE")
		h.Label("COMPROMISED", current)
		h.storeWrong("AWSCURRENT")
		idle("labels", s.deliver)
		begun := time.Now()
		_, err := s.invoke(t.Context(), h.event(crm, "CANDIDATE", "not-arrived"))
		if took := time.Since(begun); err != nil || took > 100*time.Millisecond {
			t.Errorf("an event of a label that has not arrived took %s: %v", took, err)
		}
		for _, step := range steps {
			idle(step, func() {
				event, _ := json.Marshal(map[string]string{
					"Step": step, "SecretId": crm, "ClientRequestToken": h.version("AWSCURRENT"),
				})
				if _, err := s.invoke(t.Context(), event); err == nil {
					t.Errorf("%s has succeeded", step)
				}
			})
		}
		s.logged(`"step":"createSecret"`, `"app":"crm"`, `"outcome":"failed"`, "is a replica of the one in us-east-1",
			"aws secretsmanager stop-replication-to-replica --secret-id sftoken/crm")
		s.check()
		s.logged(`"msg":"check"`, `"primary_region":"us-east-1"`, `"outcome":"login_failed"`, `"LoginFailed":1`)
		h.storeSame("AWSCURRENT")
		time.Sleep(time.Minute)
		s.check()
		s.logged(`"msg":"check"`, `"primary_region":"us-east-1"`, `"outcome":"ok"`, `"LoginFailed":0`, `"PairAge"`)
		for _, metric := range []string{"RotationOverdue", "ReplicationFailed"} {
			if strings.Contains(s.log.String(), metric) {
				t.Errorf("there is a metric %s of a replica", metric)
			}
		}
		if len(s.writes) > 0 {
			t.Errorf("the standby region has sent %q", s.writes)
		}
		h.NoSecrets(s.log.String())
	})
}

func changesCredentials(c sfoauthtest.Call) bool {
	return c.Endpoint == sfoauthtest.Stage || c.Endpoint == sfoauthtest.Promote || c.Endpoint == sfoauthtest.Delete
}

// The check of a replica does not judge a signature, since the primary credentials may not have arrived.
func TestCheckOfLaggingReplica(t *testing.T) {
	s := &standby{}
	run(t, options{standby: s, org: sfoauthtest.Config{SignWithPrimary: true}}, func(_ *testing.T, h *harness) {
		h.Replication.SetLag(1000 * time.Hour)
		h.rotateAndDeliver()
		s.check()
		s.logged(`"msg":"check"`, `"outcome":"ok"`, `"LoginFailed":0`)
		h.check()
		h.logged(`"msg":"check"`, `"outcome":"ok"`, `"LoginFailed":0`, `"ReplicationFailed":0`)
	})
}

// The check of a primary secret reports replicas that Secrets Manager has failed to update.
func TestCheckReportsFailedReplication(t *testing.T) {
	s := &standby{}
	run(t, options{standby: s}, func(t *testing.T, h *harness) {
		h.check()
		h.logged(`"msg":"check"`, `"level":"INFO"`, `"ReplicationFailed":0`)
		h.Promote()
		before := h.log.String()
		h.check() // skips the login
		line := strings.TrimPrefix(h.log.String(), before)
		for _, want := range []string{
			`"outcome":"skipped"`, `"level":"ERROR"`, `"ReplicationFailed":1`,
			`"replication_error":"the replica in us-west-2: the replica was promoted"`,
		} {
			if !strings.Contains(line, want) {
				t.Errorf("no %s in %s", want, line)
			}
		}
		s.check()
		s.logged(`"msg":"check"`, `"RotationOverdue":0`, `"outcome":"ok"`)
	})
}

// A deployment without replicas has neither the metric nor the field, and sends what it has always sent.
func TestCheckWithoutReplicas(t *testing.T) {
	run(t, options{}, func(t *testing.T, h *harness) {
		before := h.AWS.Calls()
		h.check()
		for operation, n := range h.AWS.Calls() {
			if n -= before[operation]; n > 1 {
				t.Errorf("%d calls of %s", n, operation)
			}
		}
		if log := h.log.String(); strings.Contains(log, "eplication") || strings.Contains(log, "primary_region") {
			t.Error(log)
		}
	})
}

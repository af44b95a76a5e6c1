package localaws

import (
	"context"
	"errors"
	"net/http/httptest"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// inMemory returns a simulator on a network for a synctest bubble, and a suite for its secret crm.
func inMemory(t *testing.T, config SecretsManagerConfig) (*SecretsManager, *suite) {
	t.Helper()
	config.Account, config.Region = "111111111111", "us-east-1"
	m := NewSecretsManager(config)
	network := &sfoauthtest.Network{}
	stop, err := network.Serve("secretsmanager.test:80", m)
	must(t, err)
	t.Cleanup(stop)
	client := network.Client()
	t.Cleanup(client.CloseIdleConnections)
	return m, &suite{TB: t, name: aws.String("crm"), client: newClient("http://secretsmanager.test:80", client)}
}

func runSynctest(t *testing.T, test func(t *testing.T, m *SecretsManager, s *suite)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, s := inMemory(t, SecretsManagerConfig{})
		s.create("one", token1)
		test(t, m, s)
	})
}

func TestFaultErrors(t *testing.T) {
	runSynctest(t, func(t *testing.T, m *SecretsManager, s *suite) {
		for _, f := range []Fault{
			{Code: "InternalServiceError", Status: 500}, {Code: "ThrottlingException"}, {Code: "AccessDeniedException"},
		} {
			m.InjectFault("PutSecretValue", f, 2)
			s.ok(s.get("", "")) // another operation
			s.fails(f.Code, s.tryPut("two", token2))
			s.fails(f.Code, s.tryPut("two", token2))
			s.fails("ResourceNotFoundException", s.get(token2, "")) // nothing was done
		}
		m.InjectFault("", Fault{Code: "ThrottlingException"}, 0)
		s.fails("ThrottlingException", s.get("", ""))
		s.fails("ThrottlingException", s.tryPut("two", token2))
		m.ClearFaults()
		s.put("two", token2)
		if calls := m.Calls(); calls["PutSecretValue"] != 8 || calls["GetSecretValue"] != 7 || calls["CreateSecret"] != 1 {
			t.Errorf("calls %v", calls)
		}
	})
}

func TestFaultOfOneSecret(t *testing.T) {
	runSynctest(t, func(t *testing.T, m *SecretsManager, s *suite) {
		other := &suite{TB: t, name: aws.String("erp"), client: s.client}
		other.create("other", token1)
		arn := s.describe().ARN
		m.InjectFault("GetSecretValue", Fault{Secret: *arn, Code: "AccessDeniedException"}, 0)
		m.InjectFault("", Fault{Secret: "erp", Code: "ThrottlingException"}, 1)
		s.fails("AccessDeniedException", s.get("", "")) // by its name
		other.fails("ThrottlingException", other.get("", ""))
		other.ok(other.get("", ""))
		s.name = arn
		s.fails("AccessDeniedException", s.get("", ""))
		s.ok(s.tryPut("two", token2))
		m.InjectFault("", Fault{Secret: "new", Code: "AccessDeniedException"}, 0)
		_, err := s.client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("new")})
		s.fails("AccessDeniedException", err)
	})
}

func TestFaultDelayAndHang(t *testing.T) {
	runSynctest(t, func(t *testing.T, m *SecretsManager, s *suite) {
		start := time.Now()
		m.InjectFault("GetSecretValue", Fault{Delay: 3 * time.Second}, 1)
		s.ok(s.get("", ""))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %s", took)
		}
		m.InjectFault("PutSecretValue", Fault{Hang: true}, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: s.name,
			SecretString: aws.String("two"), ClientRequestToken: aws.String(token2)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it responded: %v", err)
		}
		synctest.Wait()
		s.value("", "", "one", token1)
	})
}

func TestFaultConnections(t *testing.T) {
	runSynctest(t, func(t *testing.T, m *SecretsManager, s *suite) {
		m.InjectFault("PutSecretValue", Fault{Reset: true}, 1)
		if err := s.tryPut("two", token2); err == nil {
			t.Error("a broken connection responded")
		}
		s.value("", "", "one", token1) // not done
		m.InjectFault("PutSecretValue", Fault{ResetAfterCommit: true}, 1)
		if err := s.tryPut("two", token2); err == nil {
			t.Error("a lost response has arrived")
		}
		s.value("", "", "two", token2) // done
		s.put("two", token2)           // and harmless to repeat
	})
	m := NewSecretsManager(SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"})
	server := httptest.NewServer(m)
	defer server.Close()
	s := newSuite(t, server.URL)
	m.InjectFault("", Fault{Reset: true}, 1)
	if err := s.get("", ""); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("over TCP: %v, want a reset", err)
	}
}

func TestOnCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen []Call
		_, s := inMemory(t, SecretsManagerConfig{OnCall: func(c Call) { seen = append(seen, c) }})
		s.create("one", token1)
		want := []Call{{"CreateSecret", Arrived}, {"CreateSecret", Done}}
		if len(seen) != 2 || seen[0] != want[0] || seen[1] != want[1] {
			t.Errorf("seen %v", seen)
		}
	})
}

func TestVersionLimit(t *testing.T) {
	runSynctest(t, func(t *testing.T, _ *SecretsManager, s *suite) {
		for range 119 {
			time.Sleep(time.Second)
			s.ok(s.tryPut("next", newUUID()))
		}
		s.ok(s.get(token1, "")) // none of the last 24 hours
		time.Sleep(25 * time.Hour)
		s.put("last", token2)
		s.fails("ResourceNotFoundException", s.get(token1, ""))
		all := 0
		pages := secretsmanager.NewListSecretVersionIdsPaginator(s.client, &secretsmanager.ListSecretVersionIdsInput{
			SecretId: s.name, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(30),
		})
		for pages.HasMorePages() {
			out, err := pages.NextPage(t.Context())
			if err != nil || len(out.Versions) > 30 {
				t.Fatalf("%d versions on a page: %v", len(out.Versions), err)
			}
			all += len(out.Versions)
		}
		if all != maxVersions {
			t.Errorf("%d versions are kept, want %d", all, maxVersions)
		}
	})
}

func TestRecoveryWindow(t *testing.T) {
	runSynctest(t, func(t *testing.T, _ *SecretsManager, s *suite) {
		_, err := s.client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name,
			RecoveryWindowInDays: aws.Int64(7)})
		s.ok(err)
		time.Sleep(7*24*time.Hour - time.Second)
		s.fails("InvalidRequestException", s.get("", ""))
		time.Sleep(time.Second)
		s.fails("ResourceNotFoundException", s.get("", ""))
		s.create("two", token2)
	})
}

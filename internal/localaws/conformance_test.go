package localaws

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
)

// suite runs one rule after another, each on a secret of its own, with the real SDK.
type suite struct {
	*testing.T
	client *secretsmanager.Client
	name   *string
}

const (
	token1 = "00000000-0000-4000-8000-000000000001"
	token2 = "00000000-0000-4000-8000-000000000002"
	token3 = "00000000-0000-4000-8000-000000000003"
)

// rules are what Secrets Manager does, by its API Reference. Where moto does something else, moto says what, and the page of the
// operation that speaks against it is in the comment.
var conformance = []struct {
	rule string
	moto string // empty: moto agrees
	try  func(s *suite)
}{
	{"the first version is AWSCURRENT, whatever label was asked for", "", func(s *suite) {
		s.create("one", token1)
		s.value("", "AWSCURRENT", "one", token1)
		s.value(token1, "", "one", token1)
		s.fails("ResourceNotFoundException", s.get("", "AWSPREVIOUS"))
	}},
	{"a new version becomes AWSCURRENT, and AWSPREVIOUS follows", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.value("", "", "two", token2)
		s.value("", "AWSPREVIOUS", "one", token1)
		s.put("three", token3)
		s.value("", "AWSPREVIOUS", "two", token2)
		s.labels(token1)
	}},
	{"the same value under a known token changes nothing", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.put("one", token1)
		s.value("", "AWSCURRENT", "two", token2)
	}},
	// PutSecretValue: "If a version with this value already exists and the version of the SecretString and SecretBinary values
	// are different from those in the request, then the request fails because you can't modify a secret version."
	{"another value under a known token is refused", "succeeds and overwrites", func(s *suite) {
		s.create("one", token1)
		s.fails("ResourceExistsException", s.tryPut("two", token1))
		s.value("", "", "one", token1)
	}},
	{"a version with another label leaves AWSCURRENT alone", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "CANDIDATE")
		s.value("", "", "one", token1)
		s.value("", "CANDIDATE", "two", token2)
		s.labels(token2, "CANDIDATE")
	}},
	{"moving AWSCURRENT needs the version that has it", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "AWSPENDING")
		s.fails("InvalidParameterException", s.move("AWSCURRENT", token2, ""))
		s.fails("InvalidParameterException", s.move("AWSCURRENT", token2, token2))
		s.value("", "", "one", token1)
		s.ok(s.move("AWSCURRENT", token2, token1))
		s.value("", "AWSCURRENT", "two", token2)
		s.value("", "AWSPREVIOUS", "one", token1)
		s.labels(token2, "AWSCURRENT", "AWSPENDING")
	}},
	// GetSecretValue: "If you don't specify either a VersionStage or VersionId, Secrets Manager returns the AWSCURRENT version."
	{"who names no version reads AWSCURRENT, also after it has moved", "reads the version that was current before", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "AWSPENDING")
		s.ok(s.move("AWSCURRENT", token2, token1))
		s.value("", "", "two", token2)
	}},
	// UpdateSecretVersionStage: "If the label is already attached to a different version … the version in RemoveFromVersionId
	// … If the staging label isn't attached to the specified version, then the operation fails."
	{"a label is taken off the version that has it, and no other", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "CANDIDATE")
		s.fails("InvalidParameterException", s.move("CANDIDATE", "", token1))
		s.ok(s.move("CANDIDATE", "", token2))
		s.fails("ResourceNotFoundException", s.get("", "CANDIDATE"))
	}},
	// UpdateSecretVersionStage moves AWSCURRENT; every secret with a value has a version with it (User Guide, "Secret versions").
	{"AWSCURRENT cannot be taken off", "takes it off", func(s *suite) {
		s.create("one", token1)
		s.fails("InvalidParameterException", s.move("AWSCURRENT", "", token1))
	}},
	{"VersionId and VersionStage must name the same version", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.fails("InvalidRequestException", s.get(token1, "AWSCURRENT"))
		s.ok(s.get(token1, "AWSPREVIOUS"))
	}},
	{"what there is not, is not found", "", func(s *suite) {
		s.fails("ResourceNotFoundException", s.get("", ""))
		s.fails("ResourceNotFoundException", s.tryPut("one", token1))
		s.create("one", token1)
		s.fails("ResourceNotFoundException", s.get(token2, ""))
	}},
	{"a token has 32 to 64 characters", "", func(s *suite) {
		s.create("one", token1)
		s.fails("InvalidParameterException", s.tryPut("two", "short"))
		s.fails("InvalidParameterException", s.tryPut("two", strings.Repeat("x", 65)))
	}},
	{"a secret that exists is not created again", "", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.CreateSecret(s.Context(), &secretsmanager.CreateSecretInput{Name: s.name, SecretString: aws.String("two"), ClientRequestToken: aws.String(token2)})
		s.fails("ResourceExistsException", err)
	}},
	{"a secret marked for deletion is not read, and comes back", "", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.DeleteSecret(s.Context(), &secretsmanager.DeleteSecretInput{SecretId: s.name, RecoveryWindowInDays: aws.Int64(7)})
		s.ok(err)
		s.fails("InvalidRequestException", s.get("", ""))
		_, err = s.client.RestoreSecret(s.Context(), &secretsmanager.RestoreSecretInput{SecretId: s.name})
		s.ok(err)
		s.value("", "", "one", token1)
	}},
	{"the ARN names the secret as the name does", "", func(s *suite) {
		s.create("one", token1)
		out, err := s.client.DescribeSecret(s.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name})
		s.ok(err)
		s.name = out.ARN
		s.value("", "", "one", token1)
	}},
	// ListSecretVersionIds, IncludeDeprecated: "By default, versions without staging labels aren't included."
	{"versions without a label are listed when asked for", "always lists them", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.put("three", token3)
		for deprecated, want := range map[bool]int{false: 2, true: 3} {
			out, err := s.client.ListSecretVersionIds(s.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: s.name, IncludeDeprecated: &deprecated})
			s.ok(err)
			if len(out.Versions) != want {
				s.Errorf("%d versions are listed, want %d", len(out.Versions), want)
			}
		}
	}},
	{"a binary value is another value than the same text", "succeeds and overwrites", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name, SecretBinary: []byte("one"), ClientRequestToken: aws.String(token1)})
		s.fails("ResourceExistsException", err)
	}},
}

func TestConformance(t *testing.T) {
	server := httptest.NewServer(NewSecretsManager(SecretsManagerConfig{Account: "111111111111", Region: "us-east-1"}))
	defer server.Close()
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) { c.try(newSuite(t, server.URL)) })
	}
}

// TestConformanceOfMoto runs the same rules on moto_server, a second opinion on what Secrets Manager does.
func TestConformanceOfMoto(t *testing.T) {
	url := os.Getenv("SFTOKEN_MOTO_URL")
	if url == "" {
		t.Skip("skipped: moto_server is not running: see make conformance")
	}
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) {
			if c.moto != "" {
				t.Skipf("skipped: moto %s, against the documentation", c.moto)
			}
			c.try(newSuite(t, url))
		})
	}
}

func newSuite(t *testing.T, url string) *suite {
	return &suite{T: t, name: aws.String("test/" + newUUID()), client: secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""), Retryer: aws.NopRetryer{},
	})}
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Error(err)
	}
}

func (s *suite) fails(code string, err error) {
	s.Helper()
	if failed, ok := errors.AsType[smithy.APIError](err); !ok || failed.ErrorCode() != code {
		s.Errorf("got %v, want %s", err, code)
	}
}

func (s *suite) create(value, token string) {
	s.Helper()
	_, err := s.client.CreateSecret(s.Context(), &secretsmanager.CreateSecretInput{Name: s.name, SecretString: &value, ClientRequestToken: &token})
	s.ok(err)
}

func (s *suite) tryPut(value, token string, labels ...string) error {
	_, err := s.client.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name, SecretString: &value, ClientRequestToken: &token, VersionStages: labels})
	return err
}

func (s *suite) put(value, token string, labels ...string) {
	s.Helper()
	s.ok(s.tryPut(value, token, labels...))
}

func (s *suite) read(version, label string) (*secretsmanager.GetSecretValueOutput, error) {
	input := &secretsmanager.GetSecretValueInput{SecretId: s.name}
	if version != "" {
		input.VersionId = &version
	}
	if label != "" {
		input.VersionStage = &label
	}
	return s.client.GetSecretValue(context.Background(), input)
}

func (s *suite) get(version, label string) error {
	_, err := s.read(version, label)
	return err
}

func (s *suite) value(version, label, want, wantVersion string) {
	s.Helper()
	out, err := s.read(version, label)
	if err != nil || aws.ToString(out.SecretString) != want || aws.ToString(out.VersionId) != wantVersion {
		s.Errorf("version %q, label %q: %v, want %s", version, label, err, want)
	}
}

func (s *suite) move(label, to, from string) error {
	input := &secretsmanager.UpdateSecretVersionStageInput{SecretId: s.name, VersionStage: &label}
	if to != "" {
		input.MoveToVersionId = &to
	}
	if from != "" {
		input.RemoveFromVersionId = &from
	}
	_, err := s.client.UpdateSecretVersionStage(s.Context(), input)
	return err
}

func (s *suite) labels(version string, want ...string) {
	s.Helper()
	out, err := s.client.DescribeSecret(s.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name})
	s.ok(err)
	got := slices.Sorted(slices.Values(out.VersionIdsToStages[version]))
	if !slices.Equal(got, want) {
		s.Errorf("version %s has labels %v, want %v", version, got, want)
	}
}

package localaws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
)

// suite checks rules with the SDK, each on its own secret.
type suite struct {
	testing.TB
	client *secretsmanager.Client
	name   *string
	other  *secretsmanager.Client // of another region; its secrets have the same names
}

// The regions of a suite.
const (
	primaryRegion = "us-east-1"
	otherRegion   = "us-west-2"
)

const (
	token1 = "00000000-0000-4000-8000-000000000001"
	token2 = "00000000-0000-4000-8000-000000000002"
	token3 = "00000000-0000-4000-8000-000000000003"
)

// conformance are rules of Secrets Manager from its API Reference. Where moto differs, moto is what it does, and a
// comment names the page of the documentation.
var conformance = []struct {
	rule string
	moto string // empty: moto agrees
	try  func(s *suite)
}{
	{"the first version is AWSCURRENT whatever the label", "", func(s *suite) {
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
	{"another value under a known token is rejected", "", func(s *suite) {
		s.create("one", token1)
		s.fails("ResourceExistsException", s.tryPut("two", token1))
		s.value("", "", "one", token1)
	}},
	// PutSecretValue: a version that exists is never modified. Crash safety of a rotation rests on this one.
	{"another value under the token of AWSPENDING is rejected", "overwrites it", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "AWSPENDING")
		s.fails("ResourceExistsException", s.tryPut("three", token2, "AWSPENDING"))
		s.value("", "AWSPENDING", "two", token2)
	}},
	{"a version with another label does not change AWSCURRENT", "", func(s *suite) {
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
	// GetSecretValue: AWSCURRENT is read where neither VersionId nor VersionStage is given.
	{"GetSecretValue without a version reads AWSCURRENT, even after it has moved",
		"reads the version that was current before",
		func(s *suite) {
			s.create("one", token1)
			s.put("two", token2, "AWSPENDING")
			s.ok(s.move("AWSCURRENT", token2, token1))
			s.value("", "", "two", token2)
		}},
	{"a label is removed only from the version that has it", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "CANDIDATE")
		s.fails("InvalidParameterException", s.move("CANDIDATE", "", token1))
		s.ok(s.move("CANDIDATE", "", token2))
		s.fails("ResourceNotFoundException", s.get("", "CANDIDATE"))
	}},
	// UpdateSecretVersionStage moves AWSCURRENT; every secret with a value has a version with it (User Guide, "Secret
	// versions").
	{"AWSCURRENT cannot be removed", "removes it", func(s *suite) {
		s.create("one", token1)
		s.fails("InvalidParameterException", s.move("AWSCURRENT", "", token1))
	}},
	{"VersionId and VersionStage must name the same version", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.fails("InvalidRequestException", s.get(token1, "AWSCURRENT"))
		s.ok(s.get(token1, "AWSPREVIOUS"))
	}},
	{"an unknown secret or version is not found", "", func(s *suite) {
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
	{"an existing secret is not created again", "", func(s *suite) {
		s.create("one", token1)
		s.fails("ResourceExistsException", s.tryCreate(createInput{SecretString: aws.String("two"),
			ClientRequestToken: aws.String(token2)}))
	}},
	{"a secret marked for deletion cannot be read until it is restored", "", func(s *suite) {
		s.create("one", token1)
		s.ok(s.delete(deleteInput{RecoveryWindowInDays: aws.Int64(7)}))
		s.fails("InvalidRequestException", s.get("", ""))
		_, err := s.client.RestoreSecret(s.Context(), &secretsmanager.RestoreSecretInput{SecretId: s.name})
		s.ok(err)
		s.value("", "", "one", token1)
	}},
	{"the ARN identifies the secret as the name does", "", func(s *suite) {
		s.create("one", token1)
		s.name = s.describe().ARN
		s.value("", "", "one", token1)
	}},
	// ListSecretVersionIds, IncludeDeprecated: versions without labels are left out by default.
	{"versions without a label are listed on request", "always lists them", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.put("three", token3)
		for deprecated, want := range map[bool]int{false: 2, true: 3} {
			out, err := s.client.ListSecretVersionIds(s.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: s.name,
				IncludeDeprecated: &deprecated})
			s.ok(err)
			if len(out.Versions) != want {
				s.Errorf("%d versions are listed, want %d", len(out.Versions), want)
			}
		}
	}},
	{"a binary value is another value than the same text", "", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name,
			SecretBinary: []byte("one"), ClientRequestToken: aws.String(token1)})
		s.fails("ResourceExistsException", err)
	}},
	{"a version without a label is found by its token", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.put("three", token3)
		s.value(token1, "", "one", token1)
	}},
	{"binary values are returned unchanged", "", func(s *suite) {
		want := []byte{0, 0xff, '"', '\n'}
		s.ok(s.tryCreate(createInput{SecretBinary: want, ClientRequestToken: aws.String(token1)}))
		out, err := s.read("", "")
		if err != nil || out.SecretString != nil || string(out.SecretBinary) != string(want) {
			s.Errorf("got %v: %v", out, err)
		}
	}},
	// PutSecretValue: SecretBinary or SecretString must be given, and not both.
	{"a value is text or binary, not both", "accepts both", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name,
			SecretString: aws.String("two"), SecretBinary: []byte("two")})
		s.fails("InvalidParameterException", err)
	}},
	// PutSecretValue, SecretString: maximum length of 65536.
	{"a value has up to 65,536 bytes", "accepts more", func(s *suite) {
		s.create("one", token1)
		s.put(strings.Repeat("\x01", 65_536), token2)
		s.fails("ValidationException", s.tryPut(strings.Repeat("x", 65_537), token3))
	}},
	{"creating a secret again with the same token and value succeeds", "", func(s *suite) {
		s.create("one", token1)
		s.create("one", token1)
	}},
	{"a secret can be created without a value", "", func(s *suite) {
		s.ok(s.tryCreate(createInput{Name: s.name}))
		s.fails("ResourceNotFoundException", s.get("", ""))
		s.put("one", token1, "CANDIDATE")
		s.labels(token1, "AWSCURRENT", "CANDIDATE") // the first one is current too
	}},
	// CreateSecret, Name: "/_+=.@-", letters and numbers.
	{"a name has no other characters", "accepts them", func(s *suite) {
		for _, name := range []string{"white space", "star*", "über"} {
			s.fails("ValidationException", s.tryCreate(createInput{Name: &name}))
		}
	}},
	{"an ARN without its six random characters identifies the secret", "", func(s *suite) {
		s.create("one", token1)
		arn := *s.describe().ARN
		if !strings.HasPrefix(arn, "arn:aws:secretsmanager:us-east-1:") ||
			len(arn)-strings.LastIndex(arn, *s.name) != len(*s.name)+len("-abcdef") {
			s.Errorf("ARN %s", arn)
		}
		s.name = aws.String(arn[:len(arn)-len("-abcdef")])
		s.value("", "", "one", token1)
	}},
	// UpdateSecretVersionStage, RemoveFromVersionId: must be given when the label is on another version.
	{"moving a label needs the version that has it", "has the label on both versions",
		func(s *suite) {
			s.create("one", token1)
			s.put("two", token2)
			s.ok(s.move("MINE", token1, ""))
			s.labels(token1, "AWSPREVIOUS", "MINE")
			s.fails("InvalidParameterException", s.move("MINE", token2, ""))
			s.ok(s.move("MINE", token2, token1))
			s.labels(token2, "AWSCURRENT", "MINE")
			s.labels(token1, "AWSPREVIOUS")
		}},
	{"AWSCURRENT moves back, and AWSPREVIOUS follows", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.ok(s.move("AWSCURRENT", token1, token2))
		s.value("", "AWSCURRENT", "one", token1)
		s.value("", "AWSPREVIOUS", "two", token2)
		s.labels(token1, "AWSCURRENT")
	}},
	// UpdateSecretVersionStage has ResourceNotFoundException among its errors.
	{"a label does not move to an unknown version", "returns InvalidParameterException", func(s *suite) {
		s.create("one", token1)
		s.fails("ResourceNotFoundException", s.move("MINE", token2, ""))
	}},
	// PutSecretValue, VersionStages, and the quotas of the User Guide.
	{"a secret has up to 20 labels", "accepts any number", func(s *suite) {
		s.create("one", token1)
		for i := range 18 { // and AWSCURRENT, and AWSPREVIOUS from the next version on
			s.ok(s.move(fmt.Sprint("LABEL", i), token1, ""))
		}
		s.fails("LimitExceededException", s.move("ONE-MORE", token1, ""))
		s.fails("LimitExceededException", s.tryPut("two", token2, "ONE-MORE"))
		s.put("two", token2)
	}},
	{"secrets are listed by prefix, page by page", "", func(s *suite) {
		prefix := *s.name + "/"
		for _, name := range []string{"a", "b", "c"} {
			s.ok(s.tryCreate(createInput{Name: aws.String(prefix + name), SecretString: aws.String("x"),
				ClientRequestToken: aws.String(token1)}))
		}
		s.create("one", token1) // has not the prefix
		var got []string
		pages := secretsmanager.NewListSecretsPaginator(s.client, &secretsmanager.ListSecretsInput{
			MaxResults: aws.Int32(2), Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}},
		})
		for pages.HasMorePages() {
			out, err := pages.NextPage(s.Context())
			if err != nil || len(out.SecretList) > 2 {
				s.Fatalf("%d secrets on a page: %v", len(out.SecretList), err)
			}
			for _, entry := range out.SecretList {
				got = append(got, strings.TrimPrefix(*entry.Name, prefix))
				if !slices.Equal(entry.SecretVersionsToStages[token1], []string{"AWSCURRENT"}) {
					s.Errorf("versions %v", entry.SecretVersionsToStages)
				}
			}
		}
		if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c"}) {
			s.Errorf("listed %v", got)
		}
	}},
	{"the list of secrets has the dates and labels of DescribeSecret", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2, "CANDIDATE")
		want := s.describe()
		out, err := s.client.ListSecrets(s.Context(), &secretsmanager.ListSecretsInput{
			Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name}}},
		})
		if err != nil || len(out.SecretList) != 1 {
			s.Fatalf("%d secrets: %v", len(out.SecretList), err)
		}
		got := out.SecretList[0]
		if !got.CreatedDate.Equal(*want.CreatedDate) || !got.LastChangedDate.Equal(*want.LastChangedDate) ||
			got.LastRotatedDate != nil || got.NextRotationDate != nil || got.DeletedDate != nil ||
			!reflect.DeepEqual(got.SecretVersionsToStages, want.VersionIdsToStages) {
			s.Errorf("listed %+v, described %+v", got, want)
		}
	}},
	{"each version is listed with its date", "", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		out, err := s.client.ListSecretVersionIds(s.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: s.name})
		if err != nil || len(out.Versions) != 2 {
			s.Fatalf("%d versions: %v", len(out.Versions), err)
		}
		for _, version := range out.Versions {
			read, err := s.read(*version.VersionId, "")
			if err != nil || !version.CreatedDate.Equal(*read.CreatedDate) {
				s.Errorf("%+v: created %s: %v", version, read.CreatedDate, err)
			}
		}
	}},
	// CreateSecret, Errors: InvalidRequestException is for a secret that is scheduled for deletion.
	{"a deleted secret is listed on request, and keeps its name", "returns ResourceExistsException", func(s *suite) {
		s.create("one", token1)
		s.ok(s.delete(deleteInput{}))
		for planned, want := range map[bool]int{false: 0, true: 1} {
			out, err := s.client.ListSecrets(s.Context(), &secretsmanager.ListSecretsInput{
				IncludePlannedDeletion: &planned, Filters: []types.Filter{{Key: types.FilterNameStringTypeName,
					Values: []string{*s.name}}},
			})
			if err != nil || len(out.SecretList) != want {
				s.Errorf("%d secrets, want %d: %v", len(out.SecretList), want, err)
			}
		}
		if s.describe().DeletedDate == nil {
			s.Error("it is not marked")
		}
		s.fails("InvalidRequestException", s.tryCreate(createInput{SecretString: aws.String("two")}))
		s.fails("InvalidRequestException", s.delete(deleteInput{}))
	}},
	{"a tag is added, and replaced by another value of its key", "", func(s *suite) {
		s.create("one", token1)
		s.ok(s.tag("sftoken:checked", "2026-11-01T00:00:00Z ok", "team", ""))
		s.ok(s.tag("sftoken:checked", "2026-11-02T00:00:00Z failed"))
		out, err := s.client.ListSecrets(s.Context(), &secretsmanager.ListSecretsInput{
			Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name}}},
		})
		if err != nil || len(out.SecretList) != 1 {
			s.Fatalf("%v: %v", out, err)
		}
		for _, tags := range [][]types.Tag{s.describe().Tags, out.SecretList[0].Tags} {
			got := map[string]string{}
			for _, t := range tags {
				got[*t.Key] = *t.Value
			}
			if fmt.Sprint(got) != "map[sftoken:checked:2026-11-02T00:00:00Z failed team:]" || len(tags) != 2 {
				s.Errorf("tags %v", got)
			}
		}
		s.value("", "AWSCURRENT", "one", token1)
	}},
	// DescribeSecret, LastChangedDate: the last date and time that the secret was modified in any way.
	{"a tag changes the date of the last change", "keeps it", func(s *suite) {
		s.create("one", token1)
		before := *s.describe().LastChangedDate
		time.Sleep(1100 * time.Millisecond) // moto's dates are in seconds
		s.ok(s.tag("a", "b"))
		if after := *s.describe().LastChangedDate; !after.After(before) {
			s.Errorf("last changed %s, before %s", after, before)
		}
	}},
	// Tag: Key of 1 to 128 characters, Value of up to 256; AWS General Reference: up to 50 tags, aws: is reserved.
	{"tags have limits", "accepts them", func(s *suite) {
		s.create("one", token1)
		for range 2 {
			for i := range 50 {
				s.ok(s.tag(fmt.Sprint("key", i), strings.Repeat("é", 256)))
			}
			s.fails("InvalidParameterException", s.tag("one more", ""))
		}
		s.ok(s.tag("key0", ""))
		for _, t := range [][2]string{
			{"", "x"}, {strings.Repeat("x", 129), ""}, {"key0", strings.Repeat("x", 257)}, {"aws:x", ""},
		} {
			s.fails("InvalidParameterException", s.tag(t[0], t[1]))
		}
	}},
	// TagResource has InvalidRequestException among its errors.
	{"an unknown or deleted secret is not tagged", "tags a deleted one", func(s *suite) {
		s.fails("ResourceNotFoundException", s.tag("a", "b"))
		s.create("one", token1)
		s.ok(s.delete(deleteInput{}))
		s.fails("InvalidRequestException", s.tag("a", "b"))
	}},
	{"deletion without recovery is immediate and may be repeated", "", func(s *suite) {
		s.create("one", token1)
		for range 2 {
			s.ok(s.delete(deleteInput{ForceDeleteWithoutRecovery: aws.Bool(true)}))
		}
		s.fails("ResourceNotFoundException", s.get("", ""))
		s.create("two", token1)
	}},
	{"a recovery window has 7 to 30 days", "", func(s *suite) {
		s.create("one", token1)
		for _, days := range []int64{6, 31} {
			s.fails("InvalidParameterException", s.delete(deleteInput{RecoveryWindowInDays: &days}))
		}
		s.fails("InvalidParameterException", s.delete(deleteInput{RecoveryWindowInDays: aws.Int64(7),
			ForceDeleteWithoutRecovery: aws.Bool(true)}))
		s.value("", "", "one", token1)
	}},
	// RotateSecret needs a function to be named once.
	{"a secret without a function is not rotated", "rotates it", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.RotateSecret(s.Context(), &secretsmanager.RotateSecretInput{SecretId: s.name})
		s.fails("InvalidRequestException", err)
		_, err = s.client.CancelRotateSecret(s.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: s.name})
		s.fails("InvalidRequestException", err)
	}},
	{"a replica has the primary secret's versions, labels and tags", "", func(s *suite) {
		s.create("one", token1)
		s.ok(s.tag("team", "sales"))
		s.put("two", token2, "CANDIDATE")
		s.ok(s.replicate(false))
		s.put("three", token3)
		replica := s.replica()
		replica.value("", "AWSCURRENT", "three", token3)
		replica.value("", "AWSPREVIOUS", "one", token1)
		replica.value("", "CANDIDATE", "two", token2)
		out := replica.describe()
		if want := strings.Replace(*s.describe().ARN, primaryRegion, otherRegion, 1); *out.ARN != want {
			s.Errorf("ARN %s, want %s", *out.ARN, want)
		}
		if aws.ToString(out.PrimaryRegion) != primaryRegion || len(out.Tags) != 1 {
			s.Errorf("replica %+v", out)
		}
		listed, err := s.other.ListSecrets(s.Context(), &secretsmanager.ListSecretsInput{
			Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{*s.name}}},
		})
		if err != nil || len(listed.SecretList) != 1 ||
			aws.ToString(listed.SecretList[0].PrimaryRegion) != primaryRegion {
			s.Errorf("listed %+v: %v", listed, err)
		}
		s.status("InSync")
	}},
	// DescribeSecret, PrimaryRegion: the Region the secret is in.
	{"a primary secret with replicas has a primary region", "has none", func(s *suite) {
		s.create("one", token1)
		if region := s.describe().PrimaryRegion; region != nil {
			s.Errorf("without a replica: %s", *region)
		}
		s.ok(s.replicate(false))
		if region := aws.ToString(s.describe().PrimaryRegion); region != primaryRegion {
			s.Errorf("region %q", region)
		}
	}},
	// The code and text of the error are in issue 188 of lgallard/terraform-aws-secrets-manager.
	{"a replica is written and deleted through its primary only", "", func(s *suite) {
		s.create("one", token1)
		s.ok(s.replicate(false))
		replica := s.replica()
		replica.fails("InvalidParameterException", replica.tryPut("two", token2))
		replica.fails("InvalidParameterException", replica.delete(deleteInput{}))
		_, err := replica.client.RotateSecret(s.Context(), &secretsmanager.RotateSecretInput{SecretId: s.name})
		replica.fails("InvalidParameterException", err)
		if err == nil || !strings.Contains(err.Error(), "Operation not permitted on a replica secret") {
			s.Errorf("error %v", err)
		}
		s.fails("InvalidParameterException", s.delete(deleteInput{}))
		s.value("", "", "one", token1)
	}},
	// The User Guide, "Promote a replica secret to a standalone secret": a replica cannot be updated independently.
	{"a replica's labels, tags, rotation and replicas are its primary's", "changes them", func(s *suite) {
		s.create("one", token1)
		s.put("two", token2)
		s.ok(s.replicate(false))
		replica := s.replica()
		replica.fails("InvalidParameterException", replica.move("MINE", token1, ""))
		replica.fails("InvalidParameterException", replica.tag("a", "b"))
		_, err := replica.client.CancelRotateSecret(s.Context(), &secretsmanager.CancelRotateSecretInput{SecretId: s.name})
		replica.fails("InvalidParameterException", err)
		_, err = replica.client.ReplicateSecretToRegions(s.Context(), replicateTo(primaryRegion, s.name, true))
		replica.fails("InvalidParameterException", err)
		s.status("InSync")
	}},
	{"a region that has a secret of the same name gets no replica", "", func(s *suite) {
		s.create("one", token1)
		replica := s.replica()
		replica.create("other", token2)
		s.ok(s.replicate(false))
		s.status("Failed")
		replica.value("", "", "other", token2)
	}},
	{"ForceOverwriteReplicaSecret replaces the secret of the same name", "", func(s *suite) {
		s.create("one", token1)
		replica := s.replica()
		replica.create("other", token2)
		s.ok(s.replicate(true))
		s.status("InSync")
		replica.value("", "", "one", token1)
		replica.fails("ResourceNotFoundException", replica.get(token2, ""))
	}},
	{"a region that is removed from replication loses its replica", "", func(s *suite) {
		s.create("one", token1)
		s.ok(s.replicate(false))
		s.ok(s.unreplicate())
		s.status("")
		s.replica().fails("ResourceNotFoundException", s.replica().get("", ""))
		s.ok(s.delete(deleteInput{}))
	}},
	{"a secret is not replicated to its own region", "", func(s *suite) {
		s.create("one", token1)
		_, err := s.client.ReplicateSecretToRegions(s.Context(), replicateTo(primaryRegion, s.name, false))
		s.fails("InvalidParameterException", err)
	}},
	// StopReplicationToReplica: removes the link, and promotes the replica to a primary secret.
	{"a promoted replica is a secret like any other", "has no such operation", func(s *suite) {
		s.create("one", token1)
		s.ok(s.replicate(false))
		replica := s.replica()
		arn := *replica.describe().ARN
		_, err := s.other.StopReplicationToReplica(s.Context(), &secretsmanager.StopReplicationToReplicaInput{
			SecretId: s.name,
		})
		s.ok(err)
		s.put("three", token3)
		replica.put("two", token2)
		replica.value("", "", "two", token2)
		s.value("", "", "three", token3)
		if out := replica.describe(); *out.ARN != arn || out.PrimaryRegion != nil {
			s.Errorf("promoted: %+v", out)
		}
		s.ok(s.unreplicate())
		replica.value("", "", "two", token2)
		s.ok(s.replicate(true))
		s.status("InSync")
		replica.value("", "", "three", token3)
		replica.fails("InvalidParameterException", replica.tryPut("four", token2))
	}},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newRegions())
	t.Cleanup(server.Close)
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) {
			t.Parallel()
			c.try(newSuite(t, server.URL))
		})
	}
}

// newRegions returns the Secrets Managers of both regions at one address. As moto does, it takes the region from the
// scope of the signature.
func newRegions() http.Handler {
	replication := &Replication{}
	regions := map[string]*SecretsManager{}
	for _, region := range []string{primaryRegion, otherRegion} {
		regions[region] = NewSecretsManager(SecretsManagerConfig{
			Account: "111111111111", Region: region, Replication: replication,
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), otherRegion) {
			regions[otherRegion].ServeHTTP(w, r)
			return
		}
		regions[primaryRegion].ServeHTTP(w, r)
	})
}

// TestConformanceOfMoto checks the same rules on moto_server, as a second opinion on what Secrets Manager does. A
// rule that moto is known to break must fail there.
func TestConformanceOfMoto(t *testing.T) {
	url := os.Getenv("SFTOKEN_MOTO_URL")
	if url == "" {
		t.Skip("skipped: moto_server is not running: see make conformance")
	}
	for _, c := range conformance {
		t.Run(c.rule, func(t *testing.T) {
			s := newSuite(t, url)
			if c.moto == "" {
				c.try(s)
				return
			}
			failing := &failures{TB: t}
			s.TB = failing
			var wg sync.WaitGroup
			wg.Go(func() { c.try(s) }) // in a goroutine that Fatal can end
			wg.Wait()
			if len(failing.texts) == 0 {
				t.Errorf("moto follows this rule; the table says that it %s", c.moto)
			}
			t.Logf("moto %s, unlike the documentation: %q", c.moto, failing.texts)
		})
	}
}

// failures records the failures of a rule, in place of the test.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Error(args ...any) { f.texts = append(f.texts, fmt.Sprint(args...)) }
func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

func (f *failures) Fatal(args ...any) {
	f.Error(args...)
	runtime.Goexit()
}

func (f *failures) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func newSuite(t *testing.T, url string) *suite {
	client := newClient(url, nil)
	options := client.Options()
	options.Region = otherRegion
	return &suite{
		TB: t, name: aws.String("test/" + newUUID()), client: client, other: secretsmanager.New(options),
	}
}

// replica returns the suite of the secret of the same name in the other region.
func (s *suite) replica() *suite { return &suite{TB: s.TB, name: s.name, client: s.other} }

func replicateTo(region string, name *string, overwrite bool) *secretsmanager.ReplicateSecretToRegionsInput {
	return &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId: name, AddReplicaRegions: []types.ReplicaRegionType{{Region: &region}},
		ForceOverwriteReplicaSecret: overwrite,
	}
}

func (s *suite) replicate(overwrite bool) error {
	_, err := s.client.ReplicateSecretToRegions(s.Context(), replicateTo(otherRegion, s.name, overwrite))
	return err
}

func (s *suite) unreplicate() error {
	_, err := s.client.RemoveRegionsFromReplication(s.Context(), &secretsmanager.RemoveRegionsFromReplicationInput{
		SecretId: s.name, RemoveReplicaRegions: []string{otherRegion},
	})
	return err
}

// status checks the status of the replica in the other region; empty: there is none.
func (s *suite) status(want types.StatusType) {
	s.Helper()
	var got types.StatusType
	for _, status := range s.describe().ReplicationStatus {
		if *status.Region == otherRegion {
			got = status.Status
		}
	}
	if got != want {
		s.Errorf("the replica is %q, want %q", got, want)
	}
}

// newClient returns a client that retries nothing. A nil httpClient means the SDK's.
func newClient(url string, httpClient *http.Client) *secretsmanager.Client {
	options := secretsmanager.Options{
		Region: primaryRegion, BaseEndpoint: &url, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "fake", ""),
	}
	if httpClient != nil {
		options.HTTPClient = httpClient
	}
	return secretsmanager.New(options)
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

type (
	createInput = secretsmanager.CreateSecretInput
	deleteInput = secretsmanager.DeleteSecretInput
)

// tryCreate creates a secret, by default the suite's.
func (s *suite) tryCreate(in createInput) error {
	if in.Name == nil {
		in.Name = s.name
	}
	_, err := s.client.CreateSecret(s.Context(), &in)
	return err
}

func (s *suite) create(value, token string) {
	s.Helper()
	s.ok(s.tryCreate(createInput{SecretString: &value, ClientRequestToken: &token}))
}

func (s *suite) delete(in deleteInput) error {
	in.SecretId = s.name
	_, err := s.client.DeleteSecret(s.Context(), &in)
	return err
}

// tag adds tags, of which the arguments are keys and values.
func (s *suite) tag(pairs ...string) error {
	input := &secretsmanager.TagResourceInput{SecretId: s.name}
	for pair := range slices.Chunk(pairs, 2) {
		input.Tags = append(input.Tags, types.Tag{Key: &pair[0], Value: &pair[1]})
	}
	_, err := s.client.TagResource(s.Context(), input)
	return err
}

func (s *suite) tryPut(value, token string, labels ...string) error {
	_, err := s.client.PutSecretValue(s.Context(), &secretsmanager.PutSecretValueInput{SecretId: s.name,
		SecretString: &value, ClientRequestToken: &token, VersionStages: labels})
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

func (s *suite) describe() *secretsmanager.DescribeSecretOutput {
	s.Helper()
	out, err := s.client.DescribeSecret(s.Context(), &secretsmanager.DescribeSecretInput{SecretId: s.name})
	must(s, err)
	return out
}

func (s *suite) labels(version string, want ...string) {
	s.Helper()
	got := slices.Sorted(slices.Values(s.describe().VersionIdsToStages[version]))
	if !slices.Equal(got, want) {
		s.Errorf("version %s has labels %v, want %v", version, got, want)
	}
}

// must fails the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

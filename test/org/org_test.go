// Package org runs all of sftoken against a real org: it logs in, rotates the credentials of an app, vends and revokes,
// and prints answers to what Salesforce and AWS do not document. Without its environment variables it does so against
// the simulated org only, which proves that an interrupted run loses no credentials and that each answer depends on the
// org. See docs/development.md.
package org

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/rotation"
	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// The environment variables of these tests.
const (
	fileVar        = "SFTOKEN_ORG_TEST"        // path of the file with the app's credentials
	confirmVar     = "SFTOKEN_ORG_CONFIRM"     // the org and app that the test may change: <org ID>/<appId>
	propagationVar = "SFTOKEN_ORG_PROPAGATION" // how long new credentials may take to work; default: 10m
	hostsVar       = "SALESFORCE_HOSTS"        // further hosts, as for the functions
	awsVar         = "SFTOKEN_ORG_AWS_SECRET"  // the name of a secret that the test creates and deletes
)

func TestMain(m *testing.M) {
	stack.RunFunction("test")
	os.Exit(m.Run())
}

func report(question, answer string) { fmt.Printf("%s: %s\n", question, answer) }

func TestOrg(t *testing.T) {
	path := os.Getenv(fileVar)
	if path == "" {
		t.Skipf("%s is not set: see docs/development.md, \"Try it against a real org\"", fileVar)
	}
	if !filepath.IsAbs(path) {
		t.Fatalf("%s must be an absolute path", fileVar) // tests run in their package's folder
	}
	file, err := openCredentials(path)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := sfoauth.ParseAllowedHosts(os.Getenv(hostsVar))
	if err != nil {
		t.Fatalf("%s: %v", hostsVar, err)
	}
	propagation, err := time.ParseDuration(cmp.Or(os.Getenv(propagationVar), rotation.DefaultPropagation.String()))
	if err != nil {
		t.Fatalf("%s: %v", propagationVar, err)
	}
	f := &flow{
		T: t, file: file, confirmed: os.Getenv(confirmVar), hosts: hosts, propagation: propagation, answer: report,
	}
	f.run()
}

func TestAWS(t *testing.T) {
	name := os.Getenv(awsVar)
	if name == "" {
		t.Skipf("%s is not set: see docs/development.md, \"Try it against a real org\"", awsVar)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for label, answer := range labelsMoved(t, secretsmanager.NewFromConfig(cfg), name) {
		report("does PutSecretValue with VersionStages "+label+" leave AWSCURRENT alone", answer)
	}
}

// labelsMoved creates a secret, stores a version under each of two labels, and deletes the secret.
func labelsMoved(t *testing.T, client *secretsmanager.Client, name string) map[string]string {
	t.Helper()
	created, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
		Name: &name, SecretString: aws.String("first"),
	})
	if err != nil {
		t.Fatal(err) // above all if the secret exists
	}
	defer func() {
		_, err := client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{
			SecretId: created.ARN, ForceDeleteWithoutRecovery: aws.Bool(true),
		})
		if err != nil {
			t.Errorf("delete the secret %s yourself: %v", name, err)
		}
	}()
	answers := map[string]string{}
	for _, label := range []string{"AWSPENDING", "CANDIDATE"} {
		_, err := client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
			SecretId: created.ARN, SecretString: aws.String(label), VersionStages: []string{label},
		})
		if err != nil {
			t.Fatal(err)
		}
		now, err := client.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: created.ARN})
		if err != nil {
			t.Fatal(err)
		}
		answers[label] = yes(slices.Contains(now.VersionIdsToStages[*created.VersionId], "AWSCURRENT"))
	}
	return answers
}

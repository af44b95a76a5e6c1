package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// prefix is the default of --prefix.
const prefix = "sftoken/"

// secretFlags are the flags of the commands that use Secrets Manager.
type secretFlags struct {
	prefix string
}

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.prefix, "prefix", cmp.Or(os.Getenv("SFTOKEN_PREFIX"), prefix),
		"`PREFIX` of the names of the secrets")
}

// secretSections returns the sections of help of the commands that use Secrets Manager.
func secretSections() sections {
	return environment("SFTOKEN_PREFIX", "default of --prefix", awsVariables, awsMeaning)
}

// client returns a client of Secrets Manager and its configuration.
func (f *secretFlags) client(cmd *cobra.Command) (*secretsmanager.Client, aws.Config, error) {
	cfg, err := awsConfig(cmd)
	if err == nil && cfg.Region == "" {
		err = withHint(usagef("no region"), "pass --region or set AWS_REGION: the API's region")
	}
	if err != nil {
		return nil, cfg, err
	}
	return secretsmanager.NewFromConfig(cfg), cfg, nil
}

func newSecret() *cobra.Command {
	var flags secretFlags
	cmd := &cobra.Command{
		Use: "secret", GroupID: ownerGroup,
		Short: "Manage an app's stored credentials",
		Long: `Manage an app's consumer key and secret in AWS Secrets Manager: store them, have
new ones tried, and show what is stored. This is for the API's owner. It needs
permission to write the secret, in the API's account and region.`,
		Annotations: secretSections().exits(map[int]string{0: "done", 1: "failed"}),
		Args:        cobra.ArbitraryArgs,
		RunE:        helpOrUnknown,
	}
	flags.add(cmd)
	cmd.AddCommand(newStore(&flags, "put", appsecret.Current),
		newStore(&flags, "stage", appsecret.Candidate), newStatus(&flags))
	return cmd
}

// target identifies the secret that a command writes, so that a person notices if the profile selects the wrong
// account.
type target struct {
	Secret  string `json:"secret"`
	Account string `json:"account,omitempty"`
	Region  string `json:"region,omitempty"`
	ARN     string `json:"arn,omitempty"` // empty if the secret does not exist yet
}

// targetOf parses an ARN, arn:partition:secretsmanager:region:account:secret:name-suffix.
func targetOf(name, arn string) target {
	t := target{Secret: name, ARN: arn}
	if parts := strings.SplitN(arn, ":", 7); len(parts) == 7 {
		t.Region, t.Account = parts[3], parts[4]
	}
	return t
}

func (t target) String() string {
	text := fmt.Sprintf("%s in account %s, region %s", t.Secret, t.Account, t.Region)
	if t.ARN != "" {
		text += " (" + t.ARN + ")"
	}
	return text
}

// print prints what is about to be done to the secret.
func (t target) print(w io.Writer, doing string) {
	newTerminal(w).column(doing+" ", len("  "), t.String()) // an ARN fits behind so little
}

// checkPrimary returns an error if the secret is a replica. Only its primary secret can be changed.
func checkPrimary(secret *appsecret.Secret) error {
	if !secret.IsReplica() {
		return nil
	}
	return withHint(fmt.Errorf("the secret of app %s in %s is a replica", secret.App, secret.Region()),
		"pass --region "+secret.PrimaryRegion+
			", the region of the primary secret. If that region is lost, promote the replica")
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

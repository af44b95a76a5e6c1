package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// secretFlags are those of the commands that talk to Secrets Manager.
type secretFlags struct {
	prefix string
}

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.prefix, "prefix", cmp.Or(os.Getenv("SECRET_PREFIX"), prefix), "`PREFIX` is in front of an app's name in its secret's name")
}

// secretSections are the sections of help of the commands that talk to Secrets Manager.
func secretSections() sections {
	return environment("SECRET_PREFIX", "as --prefix", awsVariables, awsMeaning)
}

// client returns a client of Secrets Manager, and the configuration that it was made of.
func (f *secretFlags) client(cmd *cobra.Command) (*secretsmanager.Client, aws.Config, error) {
	cfg, err := awsConfig(cmd)
	if err == nil && cfg.Region == "" {
		err = &usageError{errors.New("no region: set AWS_REGION to the region of the API, or that of the profile")}
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
		Short: "Store an app's pair, try a new one, see what is stored",
		Long: `Store the consumer key and secret of an app in AWS Secrets Manager, try a new
pair, see what is stored. This is for the API's owner: it takes the right to
write the secret, in the account and region of the API.`,
		Annotations: secretSections().exits(map[int]string{0: "done", 1: "failed"}),
		Args:        cobra.ArbitraryArgs,
		RunE:        helpOrUnknown,
	}
	flags.add(cmd)
	cmd.AddCommand(newStore(&flags, "put", appsecret.Current), newStore(&flags, "stage", appsecret.Candidate), newStatus(&flags))
	return cmd
}

const storeFields = `

The fields are asked for, or read as JSON from a file or standard input:

  {"consumerKey": "…", "consumerSecret": "…",
   "baseUri": "https://<MyDomain>.my.salesforce.com"}

and, where wanted, "appId", "consumerId" (both: Salesforce makes the next pair),
"orgId", "userId" (a token of another org or user is refused) and
"allowedPrincipals" (account ids and role ARNs that may have tokens). Key and
secret must be given together. Other fields that are stored already and not
given stay as they are. A stored value that cannot be read is left alone, unless
--replace is given. A file may be UTF-8, or UTF-16 with a byte order mark.
Secrets are never taken from the command line, which every user of a machine can
read.`

const putRules = `

Before anything is stored, put logs in with the credentials from this machine,
compares org and user with "orgId" and "userId", and calls the REST API. What
Salesforce refuses is not stored. Where it cannot be found out, because of an IP
range, an outage or a limit, nothing is stored either: "secret stage --wait" has
the rotate function try the credentials, and --no-verify stores them untried.

The last version that is known to work never loses its last label. Storing a
version moves AWSPREVIOUS to the one that is AWSCURRENT now. If that one is not
known to work and AWSPREVIOUS may, AWSPREVIOUS stays where it is; and with
--no-verify nothing is stored, unless --force is given.

An app that has no secret yet needs --create.`

// newStore is ` + "`secret put` and `secret stage`" + `, which differ in the label.
func newStore(flags *secretFlags, name, label string) *cobra.Command {
	var file string
	var wait, asJSON bool
	var s store
	timeout := defaultWait
	short, long := "Store the app's credentials as the current ones", `Store the app's consumer key and secret as the current ones. If the rotate
function then finds that Salesforce refuses them and the ones before still work,
it goes back to those and labels these REJECTED.`+putRules
	if label == appsecret.Candidate {
		short, long = "Store credentials to be tried and, if they work, made current", `Store a consumer key and secret to be tried by the rotate function and, if they
work, made current. If Salesforce refuses them, they are labelled REJECTED, and
the current ones stay. This command itself does not log in.`
	}
	cmd := &cobra.Command{
		Use: name + " APP", Short: short, Long: long + storeFields,
		Example:           "  sftoken secret " + name + " crm\n  sftoken secret " + name + " crm --file pair.json\n  vault read … | sftoken secret " + name + " crm --file -",
		Annotations:       secretSections().exits(map[int]string{0: "stored; with --wait: and in use", 1: "failed; with --wait: or refused"}),
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requirePositive("--timeout", timeout); err != nil {
				return err
			}
			if s.kmsKey != "" && !s.create {
				return &usageError{errors.New("--kms-key-id is for a secret that --create makes")}
			}
			hosts, err := sfoauth.ParseAllowedHosts(os.Getenv("SALESFORCE_HOSTS"))
			if err != nil {
				return &usageError{fmt.Errorf("SALESFORCE_HOSTS: %w", err)}
			}
			client, cfg, err := flags.client(cmd)
			if err != nil {
				return err
			}
			s.cmd, s.client, s.app, s.name, s.label, s.login = cmd, client, args[0], flags.prefix+args[0], label, login{hosts: hosts}
			s.account = func(ctx context.Context) string { return callerAccount(ctx, cfg) }
			version, err := s.store(file)
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "stored version %s of %s as %s\n", version, s.name, label)
				fmt.Fprintln(cmd.OutOrStdout(), s.to.ARN)
			}
			became := label
			if wait {
				became, err = s.waitForResult(version, timeout)
			}
			switch {
			case asJSON && became != "":
				return errors.Join(printJSON(cmd, storeResult{s.to, version, became, s.verified, s.lost}), err)
			case wait && err == nil:
				fmt.Fprintln(cmd.OutOrStdout(), "it works, and is "+became)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the fields as JSON from this `FILE`; - is standard input")
	cmd.Flags().BoolVar(&s.replace, "replace", false, "replace the stored value: drop the fields that are not given")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	if label == appsecret.Candidate {
		cmd.Flags().BoolVar(&wait, "wait", false, "wait until the credentials have been tried: exit 1 where they were refused")
		cmd.Flags().DurationVar(&timeout, "timeout", defaultWait, "how long to wait")
		return cmd
	}
	cmd.Flags().BoolVar(&s.noVerify, "no-verify", false, "store the credentials without logging in with them")
	cmd.Flags().BoolVar(&s.force, "force", false, "store though the last version that works may lose its last label")
	cmd.Flags().BoolVar(&s.create, "create", false, "make the secret, where there is none")
	cmd.Flags().StringVar(&s.kmsKey, "kms-key-id", "", "with --create: the `KEY` that encrypts the secret, the deployment's KeyArn (default: the account's aws/secretsmanager)")
	cmd.Annotations = environment("SECRET_PREFIX", "as --prefix", "SALESFORCE_HOSTS", "hosts beside Salesforce's own, as of the deployment", awsVariables, awsMeaning).
		exits(map[int]string{0: "stored", 1: "failed, or Salesforce refuses the credentials: nothing was stored"})
	return cmd
}

// storeResult is what --json prints of a version that was stored.
type storeResult struct {
	target
	Version  string   `json:"version"`
	Label    string   `json:"label"`
	Verified bool     `json:"verified"`       // the credentials logged in before they were stored
	Lost     []string `json:"lost,omitempty"` // the fields that --replace has dropped
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

const (
	putHelp = `Store the app's consumer key and secret as the current ones. If the rotate
function then finds that Salesforce rejects them and that the previous ones
still work, it restores those and labels the new ones REJECTED.

Before it stores anything, put logs in with the credentials from this machine,
compares the org and user with "orgId" and "userId", and calls the REST API. It
stores nothing if Salesforce rejects the credentials, or if an IP range, an
outage or a limit prevents the check. In the second case, "secret stage --wait"
has the rotate function try the credentials, or --no-verify skips the check.

The last version that is known to work never loses its last label. Storing a
version moves AWSPREVIOUS to the one that was AWSCURRENT. If that one is not
known to work and the one with AWSPREVIOUS may work, AWSPREVIOUS stays where it
is. With --no-verify, nothing is stored in this case unless you pass --force.

An app that has no secret yet needs --create.`

	stageHelp = `Store a consumer key and secret as a candidate. The rotate function tries the
candidate and makes it current if it works. If Salesforce rejects it, it is
labelled REJECTED and the current credentials stay. This command itself does not
log in.`

	fieldsHelp = `

You are prompted for the fields, or pass them as JSON in a file or on standard
input:

  {"consumerKey": "…", "consumerSecret": "…",
   "baseUri": "https://<MyDomain>.my.salesforce.com"}

Optional fields are "appId" and "consumerId" (with both, the app's credentials
can be rotated automatically), "orgId" and "userId" (tokens of another org or
user are rejected) and "allowedPrincipals" (account IDs and role ARNs that get
tokens).

The consumer key and secret must be passed together. Stored fields that you do
not pass stay as they are. If the stored value cannot be parsed, nothing is
changed unless you pass --replace. A file may be UTF-8, or UTF-16 with a byte
order mark. Secrets are never accepted on the command line, which every user of
a machine can read.`
)

// newStore returns the command "secret put" or "secret stage", depending on the label.
func newStore(flags *secretFlags, name, label string) *cobra.Command {
	var s store
	var o storeOptions
	short, long := "Store the app's credentials as the current ones", putHelp
	if label == appsecret.Candidate {
		short, long = "Store credentials to be tried and, if they work, made current", stageHelp
	}
	cmd := &cobra.Command{
		Use: name + " APP", Short: short, Long: long + fieldsHelp,
		Example: "  sftoken secret " + name + " crm\n" +
			"  sftoken secret " + name + " crm --file credentials.json\n" +
			"  vault read … | sftoken secret " + name + " crm --file -",
		Args:              appArg,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := requirePositiveTimeout(o.timeout); err != nil {
				return err
			}
			if s.kmsKey != "" && !s.create {
				return usagef("--kms-key-id requires --create")
			}
			hosts, err := sfoauth.ParseAllowedHosts(os.Getenv("SFTOKEN_HOSTS"))
			if err != nil {
				return usagef("SFTOKEN_HOSTS: %w", err)
			}
			client, cfg, err := flags.client(cmd)
			if err != nil {
				return err
			}
			s.cmd, s.client, s.login = cmd, client, login{hosts: hosts, httpClient: salesforceClient(cmd)}
			s.app, s.name, s.label = args[0], flags.prefix+args[0], label
			s.account = func(ctx context.Context) string { return callerAccount(ctx, cfg) }
			return s.run(&o)
		},
	}
	cmd.Flags().StringVarP(&o.file, "file", "f", "", "read the fields as JSON from `FILE`; - is standard input")
	cmd.Flags().BoolVar(&s.replace, "replace", false, "replace the stored value: drop the fields that are not passed")
	o.format.add(cmd, formatTable, formatJSON)
	if label == appsecret.Candidate {
		cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until the credentials have been tried; exit 1 if they are rejected")
		cmd.Flags().DurationVar(&o.timeout, "timeout", defaultWait, "how long to wait")
		cmd.Annotations = secretSections().exits(map[int]string{
			0: "stored; with --wait: and made current", 1: "failed; with --wait: or rejected",
		})
		return cmd
	}
	o.timeout = defaultWait
	cmd.Flags().BoolVar(&s.noVerify, "no-verify", false, "store the credentials without logging in with them")
	cmd.Flags().BoolVar(&s.force, "force", false, "store even if the last working version may lose its last label")
	cmd.Flags().BoolVar(&s.create, "create", false, "create the secret if it does not exist")
	cmd.Flags().StringVar(&s.kmsKey, "kms-key-id", "", "with --create: the `KEY` that encrypts the secret, "+
		"the deployment's output KeyArn (default: the account's aws/secretsmanager)")
	cmd.Annotations = environment(
		"SFTOKEN_PREFIX", "default of --prefix",
		"SFTOKEN_HOSTS", "hosts in addition to Salesforce's own, as in the deployment",
		awsVariables, awsMeaning,
	).exits(map[int]string{0: "stored", 1: "failed; nothing is stored if Salesforce rejects the credentials"})
	return cmd
}

// storeOptions are the flags that decide how a version is read and reported.
type storeOptions struct {
	file    string
	format  output
	wait    bool
	timeout time.Duration
}

// run stores a version, waits for the result if asked to, and reports both.
func (s *store) run(o *storeOptions) error {
	version, err := s.store(o.file)
	if err != nil {
		return err
	}
	out := s.cmd.OutOrStdout()
	if !o.format.isJSON() {
		fmt.Fprintf(out, "stored version %s of %s as %s\n%s\n", version, s.name, s.label, s.target.ARN)
	}
	label := s.label
	if o.wait {
		label, err = s.waitForResult(version, o.timeout)
	}
	switch {
	case o.format.isJSON() && label != "":
		return errors.Join(printJSON(s.cmd, storeResult{s.target, version, label, s.verified, s.dropped}), err)
	case o.wait && err == nil:
		fmt.Fprintln(out, "the credentials work and are "+label)
	}
	return err
}

// storeResult is the output of --json.
type storeResult struct {
	target
	Version  string   `json:"version"`
	Label    string   `json:"label"`
	Verified bool     `json:"verified"`          // the credentials logged in before they were stored
	Dropped  []string `json:"dropped,omitempty"` // the fields that --replace has dropped
}

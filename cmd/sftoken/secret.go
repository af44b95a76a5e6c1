package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/appsecret"
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
	return describe("SECRET_PREFIX", "as --prefix", awsVariables, awsMeaning)
}

func (f *secretFlags) client(ctx context.Context) (*secretsmanager.Client, error) {
	cfg, err := awsConfig(ctx)
	if err != nil {
		return nil, err
	}
	return secretsmanager.NewFromConfig(cfg), nil
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
"allowedPrincipals" (account ids and role ARNs that may have tokens). Fields
that are stored already and not given stay as they are. Secrets are never taken
from the command line, which every user of a machine can read.`

// newStore is ` + "`secret put` and `secret stage`" + `, which differ in the label.
func newStore(flags *secretFlags, name, label string) *cobra.Command {
	var file string
	var wait, asJSON bool
	short, long := "Store the app's pair as the current one", `Store the app's pair as the current one. If it logs in, nothing more happens; if
Salesforce refuses it and the pair before still works, the rotate function goes
back to that one and labels this one REJECTED.`
	if label == appsecret.Candidate {
		short, long = "Store a pair to be tried and, if it works, made current", `Store a pair to be tried and, if it works, made current. If Salesforce refuses
it, it is labelled REJECTED, and the current one stays.`
	}
	cmd := &cobra.Command{
		Use: name + " APP", Short: short, Long: long + storeFields,
		Example:           "  sftoken secret " + name + " crm\n  sftoken secret " + name + " crm --file pair.json\n  vault read … | sftoken secret " + name + " crm --file -",
		Annotations:       secretSections().exits(map[int]string{0: "stored; with --wait: and in use", 1: "failed; with --wait: or refused"}),
		Args:              oneApp,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.client(cmd.Context())
			if err != nil {
				return err
			}
			s := &store{cmd: cmd, client: client, app: args[0], name: flags.prefix + args[0], label: label}
			version, err := s.store(file)
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "stored version %s of %s as %s\n", version, s.name, label)
			}
			became := label
			if wait {
				became, err = s.verdict(version)
			}
			switch {
			case asJSON && became != "":
				return errors.Join(printJSON(cmd, map[string]string{"secret": s.name, "version": version, "label": became}), err)
			case wait && err == nil:
				fmt.Fprintln(cmd.OutOrStdout(), "it works, and is "+became)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the fields as JSON from this `FILE`; - is standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object")
	if label == appsecret.Candidate {
		cmd.Flags().BoolVar(&wait, "wait", false, "wait until the pair has been tried: exit 1 where it was refused")
	} else {
		cmd.Annotations = secretSections().exits(map[int]string{0: "stored", 1: "failed"})
	}
	return cmd
}

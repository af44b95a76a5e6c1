package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

func newLocal() *cobra.Command {
	var o stackOptions
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "local", GroupID: localGroup,
		Short: "Run the whole of sftoken on this machine, until Ctrl-C",
		Long: `Run the whole of sftoken on this machine, until Ctrl-C: the real functions
between a simulated Salesforce org and stand-ins for Secrets Manager,
STS, API Gateway and Lambda. Everything listens on this machine alone and is
kept in memory.

With --secrets the org is a real one, and no AWS account is needed: FILE maps
apps to secret values,

  {"crm": {"consumerKey": "…", "consumerSecret": "…", "baseUri": "…"}}

Their pairs are never rotated: the new one would be lost with this process. The
keys are made for each run, and only requests to localhost are answered, so that
no other user of this machine and no web page reads the secrets. Without
--secrets the keys are always the same: a simulated org is all that they open.

With --org-ca the simulated org answers https too, at the same address: for
clients that speak nothing else. They must trust the certificate in FILE:
REQUESTS_CA_BUNDLE for Python's requests, NODE_EXTRA_CA_CERTS for Node.`,
		Example: `  sftoken local
  sftoken local --set SECRET_TTL=10s
  sftoken local --secrets secrets.json`,
		Annotations: sections{}.exits(map[int]string{0: "ended by Ctrl-C", 1: "failed"}),
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if file != "" && o.orgCA != "" {
				return &usageError{errors.New("--org-ca is for the simulated org: with --secrets there is none")}
			}
			for _, setting := range o.env {
				if name, _, ok := strings.Cut(setting, "="); !ok || name == "" {
					return &usageError{fmt.Errorf("--set %q: want NAME=value, like SECRET_TTL=10s", setting)}
				}
			}
			if file != "" {
				if o.secrets, err = readSecrets(file); err != nil {
					return err
				}
				if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s can be read by others: chmod 600 %s\n", file, file)
				}
			}
			o.log = cmd.ErrOrStderr()
			s, err := newStack(cmd.Context(), o)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.introduce(cmd, asJSON); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	cmd.Flags().StringVar(&o.api, "listen", "127.0.0.1:8080", "`HOST:PORT` where the API listens")
	cmd.Flags().StringVar(&o.aws, "secrets-manager-listen", "127.0.0.1:4566", "`HOST:PORT` where Secrets Manager and STS listen")
	cmd.Flags().StringVar(&o.org, "org-listen", "127.0.0.1:8443", "`HOST:PORT` where the simulated org listens")
	cmd.Flags().StringVar(&o.orgURL, "org-url", "", "`URL` where the functions find the simulated org, if not where it listens")
	cmd.Flags().StringVar(&o.orgCA, "org-ca", "", "have the simulated org answer https too, and write what to trust to `FILE`")
	cmd.Flags().StringVar(&file, "secrets", "", "vend from a real org: a `FILE` that maps apps to secret values")
	cmd.Flags().StringArrayVar(&o.env, "set", nil, "a setting of the functions, `NAME=value`; may be repeated")
	cmd.Flags().BoolVar(&o.noFunctions, "no-functions", false, "start only the org and AWS, for functions that run elsewhere: sam local")
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines: one JSON object with the addresses and keys")
	return cmd
}

// introduce says where everything is and how to try it.
func (s *stack) introduce(cmd *cobra.Command, asJSON bool) error {
	w := cmd.OutOrStdout()
	if s.token == nil && !asJSON {
		_, err := fmt.Fprintf(w, "\nUntil Ctrl-C:\n\n  AWS               %s (Secrets Manager, STS)\n  Salesforce        %s\n\n", s.awsURL, s.orgName())
		return err
	}
	if asJSON {
		key := func(p localaws.Principal) map[string]string {
			return map[string]string{"accessKeyId": p.AccessKeyID, "secretAccessKey": p.SecretAccessKey, "arn": p.ARN}
		}
		return json.NewEncoder(w).Encode(map[string]any{
			"url": s.url, "secretsManager": s.awsURL, "sts": s.awsURL, "org": s.orgURL, "region": region,
			"keys": map[string]any{"owner": key(s.keys.owner), "billing": key(s.keys.billing), "stranger": key(s.keys.stranger)},
		})
	}
	rotate, hosts := "  sftoken rotate "+s.apps[0]+" --wait\n", "  export SALESFORCE_HOSTS="+strings.TrimPrefix(s.orgURL, "http://")+"\n"
	if s.org == nil {
		rotate, hosts = "", ""
	}
	_, err := fmt.Fprintf(w, `
sftoken runs on this machine until Ctrl-C.

  API               %[1]s
  AWS               %[2]s (Secrets Manager, STS)
  Salesforce        %[3]s

A user in another account, who knows no secret, asks for a token:

  curl --aws-sigv4 "aws:amz:%[4]s:execute-api" --user %[5]s:%[6]s %[1]s/tokens/%[7]s

The same with this tool:

  export SFTOKEN_URL=%[1]s AWS_REGION=%[4]s
  export AWS_ENDPOINT_URL=%[2]s
  export AWS_ACCESS_KEY_ID=%[5]s
  export AWS_SECRET_ACCESS_KEY=%[6]s
  sftoken get %[7]s

As the owner, who may write the secret:

  export AWS_ACCESS_KEY_ID=%[8]s
  export AWS_SECRET_ACCESS_KEY=%[9]s
%[11]s  sftoken secret status %[7]s
  sftoken doctor %[7]s
%[10]s
What the functions write follows.

`, s.url, s.awsURL, s.orgName(), region, s.keys.billing.AccessKeyID, s.keys.billing.SecretAccessKey, s.apps[0], s.keys.owner.AccessKeyID, s.keys.owner.SecretAccessKey, rotate, hosts)
	return err
}

func (s *stack) orgName() string {
	if s.org == nil {
		return "the real org that each secret names"
	}
	return s.orgURL + " (simulated)"
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

func newLocal() *cobra.Command {
	var c stack.Config
	var file string
	var out output
	cmd := &cobra.Command{
		Use: "local", GroupID: localGroup,
		Short: "Run all of sftoken on this machine, until Ctrl-C",
		Long: `Run all of sftoken on this machine, until Ctrl-C: the real functions between a
simulated Salesforce org and simulated AWS services (Secrets Manager, STS, API
Gateway and Lambda). It listens on this machine only and keeps everything in
memory.

--shared-tokens adds a simulated DynamoDB table, in which several processes of
the token function share tokens. It starts four, with which requests take turns.

--secrets uses a real org in place of the simulated one, without an AWS account.
FILE maps apps to secret values:

  {"crm": {"consumerKey": "…", "consumerSecret": "…", "baseUri": "…"}}

These credentials are never rotated, because the new ones would be lost with
this process. The AWS keys are random in each run, and only requests to
localhost are accepted: no other user of this machine and no web page can read
the secrets. Without --secrets the keys are always the same, because they give
access to a simulated org only.

With -o json it prints the addresses and keys as one JSON object.`,
		Example: `  sftoken local
  sftoken local --env SECRET_TTL=10s
  sftoken local --shared-tokens
  sftoken local --secrets secrets.json`,
		Annotations: sections{}.exits(map[int]string{0: "ended by Ctrl-C", 1: "failed"}),
		Args:        noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			for _, setting := range c.Env {
				if name, _, ok := strings.Cut(setting, "="); !ok || name == "" {
					return withHint(usagef("--env %q is not NAME=value", setting), "for example --env SECRET_TTL=10s")
				}
			}
			if file != "" {
				if c.Secrets, err = stack.ReadSecrets(file); err != nil {
					return err
				}
				if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o077 != 0 {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: other users can read %s: chmod 600 %s\n", file, file)
				}
			}
			if c.SharedTokens {
				c.Processes = 4
			}
			c.Log = cmd.ErrOrStderr()
			s, err := stack.Start(cmd.Context(), c)
			if err != nil {
				return withListenHint(err)
			}
			defer s.Close()
			if err := printBanner(cmd, s, out.isJSON()); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.ListenAPI, "listen", "127.0.0.1:8080", "`HOST:PORT` where the API listens")
	flags.StringVar(&c.ListenAWS, "secrets-manager-listen", "127.0.0.1:4566",
		"`HOST:PORT` where Secrets Manager, STS and DynamoDB listen")
	flags.StringVar(&c.ListenOrg, "org-listen", "127.0.0.1:8443", "`HOST:PORT` where the simulated org listens")
	flags.StringVar(&c.OrgURL, "org-url", "",
		"`URL` of the simulated org as the functions reach it, if not where it listens")
	flags.StringVar(&file, "secrets", "", "use a real org: a `FILE` that maps apps to secret values")
	flags.StringArrayVar(&c.Env, "env", nil, "set an environment variable of the functions, `NAME=value`; may be repeated")
	flags.BoolVar(&c.SharedTokens, "shared-tokens", false,
		"start several processes of the token function, which share tokens in a simulated DynamoDB table")
	flags.BoolVar(&c.NoFunctions, "no-functions", false,
		"start only the simulated org and AWS, for functions that run elsewhere, such as in sam local")
	out.add(cmd, formatTable, formatJSON)
	return cmd
}

// withListenHint adds a hint to an error of an address.
func withListenHint(err error) error {
	failed, ok := errors.AsType[*stack.ListenError](err)
	_, isAddress := errors.AsType[*net.AddrError](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		return withHint(err, "stop the other `sftoken local`, or choose another address with "+failed.Flag)
	case isAddress:
		return withHint(&usageError{err}, "use HOST:PORT, like 127.0.0.1:8081")
	default:
		return withHint(err, "use HOST:PORT, like 127.0.0.1:8081")
	}
}

// printBanner prints where everything is and how to try it.
func printBanner(cmd *cobra.Command, s *stack.Stack, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(addresses(s))
	}
	org := s.OrgURL + " (simulated)"
	if s.Org == nil {
		org = "the real org that each secret names"
	}
	services, table := "Secrets Manager, STS", ""
	if s.Tables != nil {
		services, table = services+", DynamoDB", "  Token table       "+stack.TokenTable+"\n"
	}
	where := fmt.Sprintf("  AWS               %s (%s)\n  Salesforce        %s\n%s", s.AWSURL, services, org, table)
	if s.Token == nil {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "\nUntil Ctrl-C:\n\n%s\n", where)
		return err
	}
	rotate, hosts := "  sftoken rotate "+s.Apps[0]+" --wait\n", "  export SFTOKEN_HOSTS="+s.OrgHost()+"\n"
	if s.Org == nil {
		rotate, hosts = "", ""
	}
	shared, doctor := "", "sftoken doctor "+s.Apps[0]
	if s.Tables != nil {
		hosts += "  export SFTOKEN_TOKEN_TABLE=" + stack.TokenTable + "\n"
		shared = fmt.Sprintf("\nRequests take turns with %d processes of the token function. The log has\n"+
			"\"shared\":true where a process returns a token that another got.\n", len(s.Token.PIDs()))
	}
	caller, owner := s.Keys.Billing, s.Keys.Owner
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `
sftoken runs on this machine until Ctrl-C.

  API               %[1]s
%[3]s
Get a token as a user in another account, without any Salesforce secret:

  curl --aws-sigv4 "aws:amz:%[4]s:execute-api" \
    --user %[5]s:%[6]s \
    %[1]s/tokens/%[7]s
%[12]s
The same with this tool:

  export SFTOKEN_URL=%[1]s AWS_REGION=%[4]s
  export AWS_ENDPOINT_URL=%[2]s
  export AWS_ACCESS_KEY_ID=%[5]s
  export AWS_SECRET_ACCESS_KEY=%[6]s
  sftoken get %[7]s

As the owner, who can write the secret:

  export AWS_ACCESS_KEY_ID=%[8]s
  export AWS_SECRET_ACCESS_KEY=%[9]s
%[11]s  sftoken secret status %[7]s
  %[13]s
%[10]s
The functions' log follows.

`, s.URL, s.AWSURL, where, stack.Region, caller.AccessKeyID, caller.SecretAccessKey, s.Apps[0],
		owner.AccessKeyID, owner.SecretAccessKey, rotate, hosts, shared, doctor)
	return err
}

// addresses is what --json prints.
func addresses(s *stack.Stack) map[string]any {
	key := func(p localaws.Principal) map[string]string {
		return map[string]string{"accessKeyId": p.AccessKeyID, "secretAccessKey": p.SecretAccessKey, "arn": p.ARN}
	}
	return map[string]any{
		"url": s.URL, "secretsManager": s.AWSURL, "sts": s.AWSURL, "org": s.OrgURL, "region": stack.Region,
		"keys": map[string]any{"owner": key(s.Keys.Owner), "billing": key(s.Keys.Billing), "stranger": key(s.Keys.Stranger)},
	}
}

package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// secretFlags are those of the commands that talk to Secrets Manager.
type secretFlags struct {
	prefix string
}

func (f *secretFlags) add(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.prefix, "prefix", cmp.Or(os.Getenv("SECRET_PREFIX"), prefix), "in front of an app's name in its secret's name")
}

func (f *secretFlags) client(ctx context.Context, app string) (*secretsmanager.Client, error) {
	if !appsecret.ValidName(app) {
		return nil, &usageError{fmt.Errorf("%q is no app's name: want %s", app, appsecret.NamePattern)}
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	return secretsmanager.NewFromConfig(cfg), nil
}

func newSecret() *cobra.Command {
	var flags secretFlags
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Store an app's pair, try a new one, see what is stored",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.add(cmd)
	cmd.AddCommand(newStore(&flags, "put", appsecret.Current), newStore(&flags, "stage", appsecret.Candidate), newStatus(&flags))
	return cmd
}

// newStore is `secret put` and `secret stage`, which differ in the label.
func newStore(flags *secretFlags, name, label string) *cobra.Command {
	var file string
	var wait bool
	short := "Store the app's pair as the current one"
	if label == appsecret.Candidate {
		short = "Store a pair to be tried and, if it works, made current"
	}
	cmd := &cobra.Command{
		Use:   name + " APP",
		Short: short,
		Long: short + `.

The fields are asked for, or read as JSON from a file or standard input: {"consumerKey": …, "consumerSecret": …}.
Fields that are stored already and not given stay as they are. Secrets are never taken from the command line.`,
		Example: "  sftoken secret " + name + " crm\n  sftoken secret " + name + " crm --file pair.json",
		Args:    oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.client(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			s := &store{cmd: cmd, client: client, app: args[0], name: flags.prefix + args[0], label: label}
			version, err := s.store(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "stored version %s of %s as %s\n", version, s.name, label)
			if !wait {
				return nil
			}
			return s.verdict(version)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the fields as JSON from this file; - is standard input")
	if label == appsecret.Candidate {
		cmd.Flags().BoolVar(&wait, "wait", false, "wait until the pair has been tried: exit 1 where it was refused")
	}
	return cmd
}

// store is one version being stored.
type store struct {
	cmd              *cobra.Command
	client           *secretsmanager.Client
	app, name, label string
}

func (s *store) store(file string) (version string, err error) {
	ctx := s.cmd.Context()
	fields, exists, err := s.present(ctx)
	if err != nil {
		return "", err
	}
	if !exists && s.label != appsecret.Current {
		return "", fmt.Errorf("there is no secret %s yet: begin with `sftoken secret put %s`", s.name, s.app)
	}
	given, err := s.given(file, fields)
	if err != nil {
		return "", err
	}
	maps.Copy(fields, given)
	value, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	parsed, err := appsecret.Parse("", string(value))
	if err != nil {
		return "", fmt.Errorf("nothing was stored: %w", err)
	}
	if parsed.IsPlaceholder() {
		return "", errors.New("nothing was stored: this is still the placeholder")
	}
	// The token is made once, so that the SDK's retries after a lost answer find the version there.
	token := newToken()
	if !exists {
		_, err = s.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &s.name, SecretString: aws.String(string(value)), ClientRequestToken: &token})
		return token, err
	}
	_, err = s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.name, SecretString: aws.String(string(value)), ClientRequestToken: &token, VersionStages: []string{s.label},
	})
	return token, err
}

// present returns the fields that are stored now. A value that cannot be read as JSON counts as none.
func (s *store) present(ctx context.Context) (fields map[string]json.RawMessage, exists bool, err error) {
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &s.name})
	if err != nil {
		_, describeErr := s.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.name})
		if isNotFound(err) && isNotFound(describeErr) {
			return map[string]json.RawMessage{}, false, nil
		}
		if isNotFound(err) && describeErr == nil { // a secret without a value
			return map[string]json.RawMessage{}, true, nil
		}
		return nil, false, err
	}
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &fields) != nil || fields == nil {
		fields = map[string]json.RawMessage{}
	}
	return fields, true, nil
}

// given reads the fields from a file or standard input, or asks for them.
func (s *store) given(file string, present map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	input := s.cmd.InOrStdin()
	terminal, ok := input.(*os.File)
	switch {
	case file != "" && file != "-":
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		input = opened
	case file == "" && ok && term.IsTerminal(int(terminal.Fd())):
		return s.ask(terminal, present)
	}
	var fields map[string]json.RawMessage
	if err := json.NewDecoder(io.LimitReader(input, 64<<10)).Decode(&fields); err != nil || fields == nil {
		return nil, errors.New(`nothing was stored: want a JSON object, like {"consumerKey": "…", "consumerSecret": "…"}`)
	}
	return fields, nil
}

// ask asks a person. What is secret is not shown.
func (s *store) ask(terminal *os.File, present map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	lines := bufio.NewReader(terminal)
	for _, field := range []struct{ name, prompt string }{
		{"baseUri", "My Domain, https://<MyDomain>.my.salesforce.com"}, {"consumerKey", "Consumer key"}, {"consumerSecret", "Consumer secret (not shown)"},
	} {
		var stored string
		_ = json.Unmarshal(present[field.name], &stored) // a field that is no string is asked for
		if field.name == "baseUri" && stored != "" && !strings.Contains(stored, appsecret.Placeholder) {
			continue
		}
		fmt.Fprintf(s.cmd.ErrOrStderr(), "%s: ", field.prompt)
		var text string
		var err error
		if field.name == "consumerSecret" {
			var hidden []byte
			hidden, err = term.ReadPassword(int(terminal.Fd()))
			text = string(hidden)
			fmt.Fprintln(s.cmd.ErrOrStderr())
		} else {
			text, err = lines.ReadString('\n')
		}
		if err != nil {
			return nil, fmt.Errorf("nothing was stored: %w", err)
		}
		fields[field.name], _ = json.Marshal(strings.TrimSpace(text))
	}
	return fields, nil
}

// verdict waits until the candidate has been made current or refused.
func (s *store) verdict(version string) error {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "waiting for the rotate function to try it; a new pair may take 10 minutes to work everywhere")
	return poll(s.cmd.Context(), func(ctx context.Context) (bool, error) {
		secret, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
		switch {
		case err != nil:
			return false, err
		case secret.Has(version, appsecret.Current):
			fmt.Fprintln(s.cmd.OutOrStdout(), "it works, and is AWSCURRENT")
			return true, nil
		case secret.Has(version, appsecret.Rejected):
			return false, errors.New("the pair is refused by Salesforce: it is labelled REJECTED, and the current one stays; the rotate function's log says why")
		}
		return false, nil
	})
}

// poll asks every two seconds, for 20 minutes at the most.
func poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	for {
		finished, err := done(ctx)
		if finished || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped waiting, and it goes on: %w; see `sftoken secret status`", ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

func newStatus(flags *secretFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status APP", Short: "Show the secret's versions and labels, and when it is rotated; nothing secret", Args: oneApp,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.client(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			secret, err := appsecret.Open(cmd.Context(), client, flags.prefix, flags.prefix+args[0])
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(secret)
			}
			return printStatus(cmd.OutOrStdout(), secret)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for machines")
	return cmd
}

func printStatus(w io.Writer, secret *appsecret.Secret) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rotation := "off"
	if secret.RotationEnabled {
		rotation = "on"
	}
	fmt.Fprintf(table, "secret\t%s\nrotation\t%s\nlast rotated\t%s\nnext rotation\t%s\n", secret.Name, rotation, when(secret.LastRotated), when(secret.NextRotation))
	for _, version := range slices.Sorted(maps.Keys(secret.Labels)) {
		fmt.Fprintf(table, "version\t%s  %s\n", version, strings.Join(slices.Sorted(slices.Values(secret.Labels[version])), " "))
	}
	return table.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04 MST")
}

// newToken returns a random version id.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

package main

import (
	"bufio"
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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/pkg/sfoauth"
)

// store is one version being stored.
type store struct {
	cmd              *cobra.Command
	client           *secretsmanager.Client
	app, name, label string
	stored           *appsecret.Version // as it was sent
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
	given, err := s.unlessInterrupted(func() (map[string]json.RawMessage, error) { return s.given(file, fields) })
	if err != nil {
		return "", err
	}
	// Once more: what was read before somebody typed may be the pair before by now.
	if fields, exists, err = s.present(ctx); err != nil {
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
	s.stored = parsed
	s.warn(string(value))
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

// warn says what looks wrong with a value. It is stored all the same: what the functions accept is their setting.
func (s *store) warn(value string) {
	hosts, _ := sfoauth.ParseHosts(os.Getenv("SALESFORCE_HOSTS")) // what is malformed allows nothing
	for _, odd := range doctor.Examine(value, hosts) {
		newScreen(s.cmd.ErrOrStderr()).column("warning: ", 9, odd.Found+": "+odd.Fix)
	}
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

// unlessInterrupted returns what read does, unless Ctrl-C comes first: the signal ends the context, and no read of a terminal or a pipe.
func (s *store) unlessInterrupted(read func() (map[string]json.RawMessage, error)) (map[string]json.RawMessage, error) {
	if terminal, ok := s.cmd.InOrStdin().(*os.File); ok {
		if state, err := term.GetState(int(terminal.Fd())); err == nil {
			defer func() { _ = term.Restore(int(terminal.Fd()), state) }() // what is typed is shown again
		}
	}
	type answer struct {
		fields map[string]json.RawMessage
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		fields, err := read()
		answered <- answer{fields, err}
	}()
	select {
	case a := <-answered:
		return a.fields, a.err
	case <-s.cmd.Context().Done():
		fmt.Fprintln(s.cmd.ErrOrStderr())
		return nil, errors.New("nothing was stored: interrupted")
	}
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
	switch err := json.NewDecoder(io.LimitReader(input, 64<<10)).Decode(&fields); {
	case errors.Is(err, io.EOF) && file == "":
		return nil, errors.New("nothing was stored: standard input is empty and no terminal: give the fields as JSON with --file, or run this at a terminal to be asked")
	case err != nil || fields == nil:
		return nil, errors.New(`nothing was stored: want a JSON object, like {"consumerKey": "…", "consumerSecret": "…"}`)
	case len(fields) == 0:
		return nil, errors.New("nothing was stored: no field is given")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !appsecret.IsField(name) {
			newScreen(s.cmd.ErrOrStderr()).column("warning: ", 9, fmt.Sprintf("%q is no field that sftoken reads: it is stored as it is", name))
		}
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
		if errors.Is(err, io.EOF) { // Ctrl-D leaves the cursor behind the question; a hidden line has ended already
			if field.name != "consumerSecret" {
				fmt.Fprintln(s.cmd.ErrOrStderr())
			}
			return nil, errors.New("nothing was stored: the input has ended")
		}
		if err != nil {
			return nil, fmt.Errorf("nothing was stored: %w", err)
		}
		fields[field.name], _ = json.Marshal(strings.TrimSpace(text))
	}
	return fields, nil
}

// verdict waits until the candidate has been made current or refused, and returns the label that it then has: empty where that
// is not known.
func (s *store) verdict(version string) (label string, err error) {
	fmt.Fprintln(s.cmd.ErrOrStderr(), "waiting for the rotate function to try it; it may take 10 minutes")
	seen := false
	err = poll(s.cmd.Context(), func(ctx context.Context) (bool, error) {
		secret, err := appsecret.Open(ctx, s.client, strings.TrimSuffix(s.name, s.app), s.name)
		if err != nil {
			return false, err
		}
		switch {
		case secret.Has(version, appsecret.Current):
			label = appsecret.Current
		case secret.Has(version, appsecret.Rejected):
			label = appsecret.Rejected
		case !seen || secret.Has(version, appsecret.Candidate):
			seen = secret.Has(version, appsecret.Candidate)
			return false, nil
		// A rotation that takes a candidate stores its pair as a version of its own.
		case s.isPairOf(ctx, secret, appsecret.Current):
			label = appsecret.Current
		case s.isPairOf(ctx, secret, appsecret.Rejected):
			label = appsecret.Rejected
		default:
			return false, fmt.Errorf("another pair has been stored in place of this one: see `sftoken secret status %s`", s.app)
		}
		if label == appsecret.Rejected {
			return false, errors.New("the pair is refused by Salesforce: it is labelled REJECTED, and the current one stays; the rotate function's log says why")
		}
		return true, nil
	})
	return label, err
}

// isPairOf says whether the version with the label holds the pair that was stored.
func (s *store) isPairOf(ctx context.Context, secret *appsecret.Secret, label string) bool {
	holder := secret.Holder(label)
	if holder == "" {
		return false
	}
	version, err := secret.Read(ctx, holder)
	return err == nil && version.SamePair(s.stored)
}

// poll asks every two seconds, for 20 minutes at the most.
func poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	for {
		finished, err := done(ctx)
		if finished || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stopped waiting, and it goes on: %w; see `sftoken secret status`", ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

// newToken returns a random version id.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

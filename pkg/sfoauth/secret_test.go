package sfoauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/pkg/sfoauth"
)

func TestSecretIsRedacted(t *testing.T) {
	t.Parallel()
	const text = "s3cr3t-text"
	secret := sfoauth.NewSecret(text)
	type holder struct {
		Shown  sfoauth.Secret
		hidden sfoauth.Secret
		ptr    *sfoauth.Secret
	}
	held := holder{secret, secret, &secret}
	client := sfoauth.Client{ConsumerSecret: secret}
	token := sfoauth.Token{AccessToken: secret, Signature: secret}

	var out bytes.Buffer
	for _, value := range []any{
		secret, &secret, held, &held, []sfoauth.Secret{secret}, map[string]holder{"k": held},
		client, &client, token, &token,
	} {
		for _, verb := range "vsdqxXtTpbcoOUeEfFgG" {
			for _, flags := range []string{"", "+", "#", "-20", "0"} {
				fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", value)
			}
		}
		fmt.Fprintln(&out, value)
		encoded, _ := json.Marshal(value)
		out.Write(encoded)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "value", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "value", value)
	}
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprint([]byte(text))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret is printed as %q", form)
		}
	}
	got := fmt.Sprintf("%v %+v %#v %q %x", secret, secret, secret, secret, secret)
	if got != strings.Repeat(" [redacted]", 5)[1:] {
		t.Errorf("a secret prints as %s", got)
	}
	if held.hidden.Reveal() != text || !held.hidden.Equal(secret) || secret.IsZero() || !(sfoauth.Secret{}).IsZero() {
		t.Error("a secret does not hold its text")
	}
}

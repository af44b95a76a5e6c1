package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/printable"
	"github.com/sftoken/sftoken/pkg/sftoken"
)

// The further formats of get.
const (
	formatEnv    = "env"
	formatHeader = "header"
	formatToken  = "token"
	formatNone   = "none"
)

func printToken(w io.Writer, token *sftoken.Token, format string) error {
	access := token.AccessToken.Reveal()
	for _, text := range []string{access, token.ID, token.InstanceURL} {
		if format != formatJSON && printable.Safe(text) != text {
			return errMalformed
		}
	}
	var text string
	switch format {
	case formatJSON:
		indented, err := tokenJSON(token)
		if err != nil {
			return err
		}
		text = indented
	case formatTable:
		text = fmt.Sprintf("token ID      %s\ninstance URL  %s\nexpires       %s, in %s", token.ID, token.InstanceURL,
			formatTime(token.Expiry), formatSpan(time.Until(token.Expiry)))
	case formatEnv:
		var lines []string
		for _, variable := range tokenVariables(token) {
			name, value, _ := strings.Cut(variable, "=")
			lines = append(lines, "export "+name+"="+quote(value))
		}
		text = strings.Join(lines, "\n")
	case formatHeader:
		if strings.ContainsFunc(access, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errMalformed
		}
		text = "Authorization: Bearer " + access
	case formatToken:
		text = access
	case formatNone:
		return nil
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// errMalformed is the error for a token that could, for example, add another header to a request.
var errMalformed = errors.New("access_token, token_id or instance_url has white space or unprintable characters")

// tokenJSON returns the API's response with the field expires_at.
func tokenJSON(token *sftoken.Token) (string, error) {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(token.JSON.Reveal()), &fields); err != nil {
		return "", err
	}
	fields["expires_at"] = json.RawMessage(strconv.Quote(expiresAt(token)))
	text, err := json.Marshal(fields)
	if err != nil {
		return "", err
	}
	return indentedJSON(string(text))
}

// expiresAt returns the time of the token's expiry as RFC 3339 in UTC.
func expiresAt(token *sftoken.Token) string { return token.Expiry.UTC().Format(time.RFC3339) }

// tokenVariables returns the environment variables for a program that calls Salesforce.
func tokenVariables(token *sftoken.Token) []string {
	seconds := max(0, int(time.Until(token.Expiry).Round(time.Second)/time.Second))
	return []string{
		"SF_ACCESS_TOKEN=" + token.AccessToken.Reveal(), "SF_INSTANCE_URL=" + token.InstanceURL,
		"SF_TOKEN_ID=" + token.ID, "SF_TOKEN_EXPIRES_AT=" + expiresAt(token),
		"SF_TOKEN_EXPIRES_IN=" + strconv.Itoa(seconds),
	}
}

// quote quotes text for a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sftoken/sftoken/internal/appsecret"
)

// fields are the fields of a secret's value by name.
type fields = map[string]json.RawMessage

// maxInput is the limit of a file or standard input in bytes: that of a value in Secrets Manager, doubled by UTF-16.
const maxInput = 128 << 10

// readInput reads the fields from a file or standard input, or prompts for them at a terminal.
func (s *store) readInput(file string, stored fields) (fields, error) {
	input := s.cmd.InOrStdin()
	switch terminal := inputTerminal(s.cmd); {
	case file != "" && file != "-":
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		input = opened
	case file == "" && terminal != nil:
		return s.prompt(terminal, stored)
	}
	raw, err := io.ReadAll(io.LimitReader(input, maxInput+1))
	if err != nil {
		return nil, err
	}
	text, err := decodeText(raw)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" && file == "" {
		return nil, withHint(errors.New("no input"), "pass --file, pipe JSON to stdin, or run in a terminal to be prompted")
	}
	found, err := appsecret.Fields(text)
	switch {
	case err != nil:
		return nil, errors.New(`the input is not one JSON object, like {"consumerKey": "…", "consumerSecret": "…"}`)
	case len(found) == 0:
		return nil, errors.New("the input has no field")
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, near := appsecret.NearMiss(name); !near && !appsecret.IsField(name) { // a near miss is an error later
			s.warn(fmt.Sprintf("sftoken does not use the field %q, and stores it unchanged", name))
		}
	}
	return found, nil
}

// decodeText decodes the encodings that editors and shells write: UTF-8, with or without a byte order mark, and
// UTF-16 with one.
func decodeText(raw []byte) (string, error) {
	const saveAs = "save it as UTF-8 (in PowerShell: -Encoding utf8)"
	cut := func(mark string) ([]byte, bool) { return bytes.CutPrefix(raw, []byte(mark)) }
	if len(raw) > maxInput {
		return "", fmt.Errorf("the input is longer than %d bytes", maxInput)
	}
	_, utf32LE := cut("\xff\xfe\x00\x00")
	_, utf32BE := cut("\x00\x00\xfe\xff")
	if utf32LE || utf32BE {
		return "", errors.New("the input is UTF-32: " + saveAs)
	}
	if text, ok := cut("\xff\xfe"); ok {
		return decodeUTF16(text, binary.LittleEndian)
	}
	if text, ok := cut("\xfe\xff"); ok {
		return decodeUTF16(text, binary.BigEndian)
	}
	text, _ := cut("\ufeff")
	switch {
	case bytes.IndexByte(text, 0) >= 0:
		return "", errors.New("the input looks like UTF-16 without a byte order mark: " + saveAs)
	case !utf8.Valid(text):
		valid, _, _ := bytes.Cut(bytes.ToValidUTF8(text, []byte{0xff}), []byte{0xff}) // a byte that UTF-8 never has
		return "", fmt.Errorf("the input is not UTF-8 (from byte %d on): %s", len(valid)+1, saveAs)
	}
	return string(text), nil
}

func decodeUTF16(text []byte, order binary.ByteOrder) (string, error) {
	if len(text)%2 != 0 {
		return "", errors.New("the input is UTF-16 that ends within a character: it is truncated")
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	decoded := string(utf16.Decode(units))
	if strings.ContainsRune(decoded, utf8.RuneError) {
		return "", errors.New("the input is not valid UTF-16")
	}
	return decoded, nil
}

// prompt prompts for the fields, without an echo for the secret.
func (s *store) prompt(terminal *os.File, stored fields) (fields, error) {
	given := fields{}
	lines := bufio.NewReader(terminal)
	for _, field := range []struct{ name, prompt string }{
		{"baseUri", "My Domain, https://<MyDomain>.my.salesforce.com"},
		{"consumerKey", "Consumer key"}, {"consumerSecret", "Consumer secret (not shown)"},
	} {
		var value string
		_ = json.Unmarshal(stored[field.name], &value) // a value that is not a string is prompted for
		if field.name == "baseUri" && value != "" && !strings.Contains(value, appsecret.Placeholder) {
			continue
		}
		fmt.Fprintf(s.cmd.ErrOrStderr(), "%s: ", field.prompt)
		hidden := field.name == "consumerSecret"
		var text string
		var err error
		if hidden {
			var typed []byte
			typed, err = term.ReadPassword(int(terminal.Fd()))
			text = string(typed)
		} else {
			text, err = lines.ReadString('\n')
		}
		if hidden || errors.Is(err, io.EOF) { // neither a hidden line nor Ctrl-D moves the cursor to the next line
			fmt.Fprintln(s.cmd.ErrOrStderr())
		}
		if errors.Is(err, io.EOF) {
			return nil, errors.New("end of input")
		}
		if err != nil {
			return nil, err
		}
		given[field.name], _ = json.Marshal(strings.TrimSpace(text))
	}
	return given, nil
}

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

// fields are those of a secret's value, by name.
type fields = map[string]json.RawMessage

// maxInput bounds what is read of a file or standard input, in bytes: Secrets Manager takes no longer value, and
// UTF-16 doubles it.
const maxInput = 128 << 10

// readInput reads the fields from a file or standard input, or asks for them.
func (s *store) readInput(file string, present fields) (fields, error) {
	input := s.cmd.InOrStdin()
	switch at := inputTerminal(s.cmd); {
	case file != "" && file != "-":
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer opened.Close()
		input = opened
	case file == "" && at != nil:
		return s.prompt(at, present)
	}
	raw, err := io.ReadAll(io.LimitReader(input, maxInput+1))
	if err != nil {
		return nil, err
	}
	text, err := decodeText(raw)
	switch {
	case err != nil:
		return nil, err
	case strings.TrimSpace(text) == "" && file == "":
		return nil, errors.New("standard input is empty and no terminal: give the fields as JSON with --file, or run this at a terminal to be asked")
	}
	found, err := appsecret.Fields(text)
	switch {
	case err != nil:
		return nil, errors.New(`want one JSON object, like {"consumerKey": "…", "consumerSecret": "…"}`)
	case len(found) == 0:
		return nil, errors.New("no field is given")
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, near := appsecret.NearMiss(name); !near && !appsecret.IsField(name) { // what is nearly a field is refused
			newTerminal(s.cmd.ErrOrStderr()).column("warning: ", 9, fmt.Sprintf("%q is no field that sftoken reads: it is stored as it is", name))
		}
	}
	return found, nil
}

// decodeText reads a file as an editor or a shell may have written it: UTF-8, with a byte order mark or without, or
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
		return "", fmt.Errorf("the input is not UTF-8 (from byte %d on): %s", validUntil(text)+1, saveAs)
	}
	return string(text), nil
}

func validUntil(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

func decodeUTF16(text []byte, order binary.ByteOrder) (string, error) {
	if len(text)%2 != 0 {
		return "", errors.New("the input begins as UTF-16 and ends within a character: it was cut off")
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	decoded := string(utf16.Decode(units))
	if strings.ContainsRune(decoded, utf8.RuneError) {
		return "", errors.New("the input begins as UTF-16 and holds what is no character in it")
	}
	return decoded, nil
}

// prompt asks a person. What is secret is not shown.
func (s *store) prompt(at *os.File, present fields) (fields, error) {
	answers := fields{}
	lines := bufio.NewReader(at)
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
			hidden, err = term.ReadPassword(int(at.Fd()))
			text = string(hidden)
			fmt.Fprintln(s.cmd.ErrOrStderr())
		} else {
			text, err = lines.ReadString('\n')
		}
		if errors.Is(err, io.EOF) { // Ctrl-D leaves the cursor behind the question; a hidden line has ended already
			if field.name != "consumerSecret" {
				fmt.Fprintln(s.cmd.ErrOrStderr())
			}
			return nil, errors.New("the input has ended")
		}
		if err != nil {
			return nil, err
		}
		answers[field.name], _ = json.Marshal(strings.TrimSpace(text))
	}
	return answers, nil
}

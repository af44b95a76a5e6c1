package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// errInterrupted is in the error of a prompt or a read that Ctrl-C has ended.
var errInterrupted = errors.New("interrupted")

// inputTerminal returns the terminal at which the command can prompt: standard input, if standard error is a terminal
// too. It returns nil if there is none.
func inputTerminal(cmd *cobra.Command) *os.File {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) || !isTerminal(cmd.ErrOrStderr()) {
		return nil
	}
	return in
}

// interruptible returns the result of read, or errInterrupted if Ctrl-C comes first. The signal ends the context, but
// not a read of a terminal or a pipe.
func interruptible[T any](cmd *cobra.Command, read func() (T, error)) (T, error) {
	if terminal, ok := cmd.InOrStdin().(*os.File); ok {
		if state, err := term.GetState(int(terminal.Fd())); err == nil {
			defer func() { _ = term.Restore(int(terminal.Fd()), state) }() // the echo is on again
		}
	}
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	go func() {
		value, err := read()
		results <- result{value, err}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-cmd.Context().Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return *new(T), errInterrupted
	}
}

// confirm asks a person to confirm an action, unless yes is set. It returns an error if there is no terminal.
func confirm(cmd *cobra.Command, yes bool, action string) error {
	if yes {
		return nil
	}
	in := inputTerminal(cmd)
	if in == nil {
		return withHint(usagef("nothing was done: there is no terminal to confirm this: %s", action), "pass --yes to confirm")
	}
	newTerminal(cmd.ErrOrStderr()).column("", 0, action)
	fmt.Fprint(cmd.ErrOrStderr(), "Continue? Type yes: ")
	typed, err := interruptible(cmd, func() (string, error) { return bufio.NewReader(in).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	if strings.TrimSpace(typed) != "yes" {
		return errors.New("nothing was done: not confirmed")
	}
	return nil
}

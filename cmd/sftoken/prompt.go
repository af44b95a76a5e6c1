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

// errInterrupted is in the error of a question or a read that Ctrl-C has ended.
var errInterrupted = errors.New("interrupted")

// inputTerminal returns the terminal at which the command can ask a person: one that it reads from while its messages
// are shown at one. Nil: there is none.
func inputTerminal(cmd *cobra.Command) *os.File {
	in, ok := cmd.InOrStdin().(*os.File)
	if _, shown := columns(cmd.ErrOrStderr()); !ok || !shown || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return in
}

// interruptible returns what read does, unless Ctrl-C comes first: the signal ends the context, and no read of a
// terminal or a pipe.
func interruptible[T any](cmd *cobra.Command, read func() (T, error)) (T, error) {
	if terminal, ok := cmd.InOrStdin().(*os.File); ok {
		if state, err := term.GetState(int(terminal.Fd())); err == nil {
			defer func() { _ = term.Restore(int(terminal.Fd()), state) }() // what is typed is shown again
		}
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		value, err := read()
		answered <- answer{value, err}
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-cmd.Context().Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return *new(T), errInterrupted
	}
}

// confirm asks a person whether to do what cannot be undone, unless yes says so. Without a terminal it refuses.
func confirm(cmd *cobra.Command, yes bool, what string) error {
	if yes {
		return nil
	}
	in := inputTerminal(cmd)
	if in == nil {
		return &usageError{errors.New(what + " Nothing was done: there is no terminal to ask for a confirmation: give --yes")}
	}
	newTerminal(cmd.ErrOrStderr()).column("", 0, what)
	fmt.Fprint(cmd.ErrOrStderr(), "Go on? Type yes: ")
	typed, err := interruptible(cmd, func() (string, error) { return bufio.NewReader(in).ReadString('\n') })
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	if strings.TrimSpace(typed) != "yes" {
		return errors.New("nothing was done: not confirmed")
	}
	return nil
}

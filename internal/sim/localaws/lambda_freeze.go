//go:build unix

package localaws

import "syscall"

// freeze stops the process, as Lambda does between invocations, and thaw lets it go on.
func (e *environment) freeze() { e.signal(syscall.SIGSTOP) }

func (e *environment) thaw() { e.signal(syscall.SIGCONT) }

func (e *environment) signal(s syscall.Signal) {
	if e.config.Freeze {
		_ = e.cmd.Process.Signal(s)
	}
}

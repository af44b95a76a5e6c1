//go:build unix

package localaws

import "syscall"

// freeze suspends the process, as Lambda does between invocations, and thaw resumes it.
func (e *environment) freeze() { e.signal(syscall.SIGSTOP) }

func (e *environment) thaw() { e.signal(syscall.SIGCONT) }

func (e *environment) signal(s syscall.Signal) {
	if e.config.Freeze {
		_ = e.cmd.Process.Signal(s)
	}
}

//go:build !unix

package localaws

// freeze and thaw do nothing: this system has no signals that suspend a process. See FunctionConfig.Freeze.
func (e *environment) freeze() {}

func (e *environment) thaw() {}

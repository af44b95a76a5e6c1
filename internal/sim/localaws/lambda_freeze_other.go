//go:build !unix

package localaws

// freeze and thaw do nothing: this system has no signals that stop a process. See FunctionConfig.Freeze.
func (e *environment) freeze() {}

func (e *environment) thaw() {}

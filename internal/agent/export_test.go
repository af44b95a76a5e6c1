package agent

import "weak"

// Apps returns how many apps the agent keeps.
func Apps(a *Agent) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.apps)
}

// Latest returns a function that reports whether the token that the agent serves for the app now is in memory.
func Latest(a *Agent, name string) (inMemory func() bool) {
	latest := weak.Make(a.app(name).latest.Load())
	return func() bool { return latest.Value() != nil }
}

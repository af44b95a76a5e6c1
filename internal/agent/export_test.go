package agent

// Apps returns how many apps the agent keeps.
func Apps(a *Agent) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.apps)
}

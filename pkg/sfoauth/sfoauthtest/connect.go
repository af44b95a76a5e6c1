package sfoauthtest

const (
	stateActive  = "Active"
	stateExpired = "Expired"
	stateRotated = "Rotated"
)

func (o *Org) connect(r *request) *answer { return notFound() }

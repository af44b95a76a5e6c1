package stack

import (
	"crypto/rand"

	"github.com/sftoken/sftoken/internal/sim/localaws"
)

// Keys are the principals of a stack's AWS.
type Keys struct {
	Owner    localaws.Principal // of the account that owns sftoken: may do everything
	Billing  localaws.Principal // of another account: may get tokens of the simulated org's app
	Stranger localaws.Principal // of a third account: may call the API, and is not among the app's allowedPrincipals
	Probe    localaws.Principal // of the owner's account: may get tokens of crm, and of no other app
	Function localaws.Principal // the functions' execution role
}

// SimulatedKeys returns the keys for a simulated org. They are always the same: the documentation shows them.
func SimulatedKeys() Keys {
	return Keys{
		Owner: localaws.Principal{
			AccessKeyID: "AKIALOCALOWNER", SecretAccessKey: "local-owner-only", Account: Account,
			ARN: "arn:aws:iam::111111111111:user/owner", UserID: "AIDALOCALOWNER", Invoke: []string{"*"},
		},
		Billing: localaws.Principal{
			AccessKeyID: "AKIALOCALBILLING", SecretAccessKey: "local-billing-only", Account: "222222222222",
			ARN: "arn:aws:iam::222222222222:user/billing", UserID: "AIDALOCALBILLING",
			Invoke: []string{"GET/tokens/*", "POST/tokens/*"},
		},
		Stranger: localaws.Principal{
			AccessKeyID: "AKIALOCALSTRANGER", SecretAccessKey: "local-stranger-only", Account: "333333333333",
			ARN: "arn:aws:iam::333333333333:user/stranger", UserID: "AIDALOCALSTRANGER", Invoke: []string{"GET/tokens/*"},
		},
		Probe: localaws.Principal{
			AccessKeyID: "ASIALOCALPROBE", SecretAccessKey: "local-probe-only", SessionToken: "local-probe-session",
			Account: Account, ARN: "arn:aws:sts::111111111111:assumed-role/sftoken-probe/probe", UserID: "AROALOCALPROBE:probe",
			Invoke: []string{"GET/tokens/crm"},
		},
		Function: localaws.Principal{
			AccessKeyID: "ASIALOCALEXECUTION", SecretAccessKey: "local-execution-only", SessionToken: "local-session",
			Account: Account, ARN: "arn:aws:sts::111111111111:assumed-role/sftoken/functions", UserID: "AROALOCAL:functions",
		},
	}
}

// RandomKeys returns keys for one run. They protect the secrets of a real org from other users of this machine.
func RandomKeys() Keys {
	keys := SimulatedKeys()
	for _, p := range []*localaws.Principal{&keys.Owner, &keys.Billing, &keys.Stranger, &keys.Probe, &keys.Function} {
		p.AccessKeyID = p.AccessKeyID[:len("AKIA")] + rand.Text()[:16]
		p.SecretAccessKey = rand.Text() + rand.Text()
		if p.SessionToken != "" {
			p.SessionToken = rand.Text() + rand.Text()
		}
	}
	return keys
}

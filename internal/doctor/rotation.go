package doctor

import (
	"context"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

var rotationChecks = []check{
	{"rotation", "replication", []string{"secret"}, (*session).replication},
	{"rotation", "schedule", []string{"secret"}, (*session).schedule},
	{"rotation", "rotation-dates", []string{"secret"}, (*session).rotationDates},
	{"rotation", "stuck-rotation", []string{"secret"}, (*session).stuckRotation},
	{"rotation", "labels", []string{"secret"}, (*session).labels},
}

func (s *session) schedule(context.Context) outcome {
	switch {
	case s.secret.IsReplica():
		return ok("that of the secret in " + s.secret.PrimaryRegion)
	case !s.secret.RotationEnabled:
		return warning("rotation is off: the credentials stay until a person changes them",
			"deploy with RotationSchedule (in a promoted region with Standby=promoted), or run `aws secretsmanager "+
				"rotate-secret` with the deployment's RotateFunctionArn")
	case s.secret.Schedule == "":
		return warning("rotation is on, without a schedule", "set the deployment's RotationSchedule")
	}
	return ok("on, " + s.secret.Schedule)
}

func (s *session) rotationDates(context.Context) outcome {
	if s.secret.IsReplica() {
		return ok("those of the secret in " + s.secret.PrimaryRegion)
	}
	last := "never rotated"
	if !s.secret.LastRotated.IsZero() {
		last = "last " + date(s.secret.LastRotated)
	}
	if s.secret.NextRotation.IsZero() {
		return ok(last + ", no next date")
	}
	found := last + ", next " + date(s.secret.NextRotation)
	if s.secret.Overdue(time.Now()) {
		return failed(found+": overdue", "see the rotate function's log for the error; "+s.rotateCommand()+" tries again now")
	}
	return ok(found)
}

// maxRotation is how long a rotation may take, with all its steps and their retries.
const maxRotation = time.Hour

// stuckRotation looks for an unfinished rotation: AWSPENDING on a version that is not current.
func (s *session) stuckRotation(context.Context) outcome {
	pending := s.secret.VersionWithLabel(appsecret.Pending)
	if pending == "" || s.secret.HasLabel(pending, appsecret.Current) {
		return ok("no rotation is unfinished")
	}
	age := time.Since(lastChanged(s.secret))
	found := "a rotation is unfinished: AWSPENDING is on version " + pending
	if age < maxRotation {
		return warning(found, "it may be in progress: check again in an hour. If it is still there, "+s.rotateCommand()+
			" continues it")
	}
	return failed(found+", unchanged for "+span(age),
		s.rotateCommand()+" continues it; the rotate function's log has the error")
}

// labels looks for labels that need attention.
func (s *session) labels(context.Context) outcome {
	with := s.secret.VersionWithLabel
	current, candidate := with(appsecret.Current), with(appsecret.Candidate)
	rejected, compromised := with(appsecret.Rejected), with(appsecret.Compromised)
	age := time.Since(lastChanged(s.secret))
	var found, fix []string
	add := func(what, todo string) { found, fix = append(found, what), append(fix, todo) }
	switch {
	case compromised != "" && compromised == current:
		return failed("the current credentials are labelled COMPROMISED, and still in use",
			s.command("rotate "+s.App+" --compromised"))
	case candidate != "" && candidate != current && age > maxRotation:
		return failed("a CANDIDATE has waited for "+span(age)+" to be tried: version "+candidate,
			"the rotate function has not handled it: see its log and the dead letters; "+
				s.command("secret stage "+s.App)+" tries again")
	case candidate != "" && candidate != current:
		add("a CANDIDATE waits to be tried: version "+candidate,
			"the rotate function tries it within minutes: see "+s.command("secret status "+s.App))
	}
	if rejected != "" {
		add("version "+rejected+" is REJECTED: Salesforce refused its credentials",
			"see the rotate function's log for the reason, and store valid ones with "+
				s.command("secret stage "+s.App)+". The label itself has no effect")
	}
	if compromised != "" {
		add("version "+compromised+" is labelled COMPROMISED", "see staged: the compromised credentials must not be there")
	}
	if len(found) > 0 {
		return warning(strings.Join(found, "; "), strings.Join(fix, "; "))
	}
	return ok("no version needs attention. Current is " + current)
}

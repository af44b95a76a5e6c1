package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
)

var rotationChecks = []check{
	{"rotation", "schedule", []string{"secret"}, (*session).schedule},
	{"rotation", "dates", []string{"secret"}, (*session).rotationDates},
	{"rotation", "unfinished", []string{"secret"}, (*session).stuckRotation},
	{"rotation", "labels", []string{"secret"}, (*session).labels},
}

func (v *session) schedule(context.Context) outcome {
	switch {
	case !v.secret.RotationEnabled:
		return warning("rotation is off: the pair stays until a person changes it",
			"deploy with RotationSchedule, or aws secretsmanager rotate-secret with the RotateFunctionArn of the deployment")
	case v.secret.Schedule == "":
		return warning("rotation is on, without a schedule", "give it one: RotationSchedule of the deployment")
	}
	return ok("on, " + v.secret.Schedule)
}

func (v *session) rotationDates(context.Context) outcome {
	s := v.secret
	last := "never rotated"
	if !s.LastRotated.IsZero() {
		last = "last " + date(s.LastRotated)
	}
	if s.NextRotation.IsZero() {
		return ok(last + ", no next date")
	}
	found := last + ", next " + date(s.NextRotation)
	if s.Overdue(time.Now()) {
		return failed(found+": overdue", "the rotate function's log says what fails; `sftoken rotate "+v.App+" --wait` tries it now")
	}
	return ok(found)
}

// underWay is how long a rotation may take, all its steps and their retries.
const underWay = time.Hour

// stuckRotation looks for a rotation that has begun and not ended: AWSPENDING on a version that is not current.
func (v *session) stuckRotation(context.Context) outcome {
	pending := v.secret.VersionWithLabel(appsecret.Pending)
	if pending == "" || v.secret.HasLabel(pending, appsecret.Current) {
		return ok("no rotation is left half done")
	}
	age := time.Since(changed(v.secret))
	found := "a rotation has begun and not ended: AWSPENDING is on version " + pending
	if age < underWay {
		return warning(found, "it may be under way: look again in an hour; if it is still there, `sftoken rotate "+v.App+" --wait` goes on with it")
	}
	return failed(found+", unchanged for "+span(age), "`sftoken rotate "+v.App+" --wait` goes on with it; the rotate function's log says what failed")
}

// labels looks for what a person, or a reaction to one, has left.
func (v *session) labels(context.Context) outcome {
	s := v.secret
	current, candidate := s.VersionWithLabel(appsecret.Current), s.VersionWithLabel(appsecret.Candidate)
	rejected, compromised := s.VersionWithLabel(appsecret.Rejected), s.VersionWithLabel(appsecret.Compromised)
	age := time.Since(changed(s))
	var found, fix []string
	switch {
	case compromised != "" && compromised == current:
		return failed("the current pair is marked COMPROMISED, and still in use", "`sftoken rotate "+v.App+" --compromised`")
	case candidate != "" && candidate != current && age > underWay:
		return failed("a CANDIDATE waits to be tried for "+span(age)+": version "+candidate,
			"the rotate function has not dealt with it: see its log and the dead letters; `sftoken secret stage "+v.App+"` tries again")
	case candidate != "" && candidate != current:
		found, fix = append(found, "a CANDIDATE waits to be tried: version "+candidate), append(fix, "the rotate function tries it within minutes: see `sftoken secret status "+v.App+"`")
	}
	if rejected != "" {
		found = append(found, "version "+rejected+" is REJECTED: Salesforce refused its pair")
		fix = append(fix, "the rotate function's log says why; store a right one with `sftoken secret stage "+v.App+"`. The label itself does no harm")
	}
	if compromised != "" {
		found = append(found, "version "+compromised+" is marked COMPROMISED")
		fix = append(fix, "check under pairs that the leaked pair is deleted at Salesforce")
	}
	if len(found) > 0 {
		return warning(strings.Join(found, "; "), strings.Join(fix, "; "))
	}
	return ok(fmt.Sprintf("nothing is left of earlier changes; current is %s", current))
}

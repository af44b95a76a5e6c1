package localaws

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// rules are RotationRules as the API has them.
type rules struct {
	AutomaticallyAfterDays int    `json:",omitempty"`
	Duration               string `json:",omitempty"`
	ScheduleExpression     string `json:",omitempty"`
}

// schedule is when a secret is rotated: in windows that open on the hour. It has no cron expressions.
//
// Source: Secrets Manager User Guide, "Rotation schedules"; API Reference, RotationRulesType.
type schedule struct {
	every  time.Duration // between rotations
	hourly bool          // the rate is in hours, so that a day may have several windows
	length time.Duration // of a window; zero: one hour where hourly, else to the end of the UTC day
}

const day = 24 * time.Hour

var (
	ratePattern     = regexp.MustCompile(`^rate\(([1-9]\d{0,3}) (hours?|days?)\)$`)
	durationPattern = regexp.MustCompile(`^([1-9]\d?)h$`)
)

// schedule parses the rules. It returns nil where they have no schedule.
func (r rules) schedule() (*schedule, error) {
	s := &schedule{every: time.Duration(r.AutomaticallyAfterDays) * day}
	rate := ratePattern.FindStringSubmatch(r.ScheduleExpression)
	switch {
	case r.ScheduleExpression != "" && r.AutomaticallyAfterDays != 0:
		return nil, apiErr("InvalidParameterException",
			"You can't specify both AutomaticallyAfterDays and ScheduleExpression.")
	case r.AutomaticallyAfterDays < 0 || r.AutomaticallyAfterDays > 1000:
		return nil, apiErr("ValidationException", "AutomaticallyAfterDays must be 1 to 1000")
	case rate != nil:
		n, _ := strconv.Atoi(rate[1]) // of one to four digits
		s.hourly = strings.HasPrefix(rate[2], "hour")
		if s.every = time.Duration(n) * day; s.hourly {
			s.every = time.Duration(n) * time.Hour
		}
		if s.every < 4*time.Hour || s.every > 999*day {
			return nil, apiErr("ValidationException", "ScheduleExpression %q: want 4 hours to 999 days", r.ScheduleExpression)
		}
	case strings.HasPrefix(r.ScheduleExpression, "cron("):
		return nil, apiErr(
			"ValidationException",
			"ScheduleExpression %q: this simulator does not evaluate cron expressions: "+
				"use rate(N days)",
			r.ScheduleExpression,
		)
	case r.ScheduleExpression != "":
		return nil, apiErr("ValidationException", "ScheduleExpression %q: want rate(N hours) or rate(N days)",
			r.ScheduleExpression)
	}
	if s.every == 0 {
		return nil, nil
	}
	return s, s.setLength(r.Duration)
}

// setLength parses the length of a window, which must end before the next window and the next day begin.
func (s *schedule) setLength(text string) error {
	if text == "" {
		return nil
	}
	parts := durationPattern.FindStringSubmatch(text)
	if parts == nil {
		return apiErr("ValidationException", "Duration %q: want hours, like 3h", text)
	}
	n, _ := strconv.Atoi(parts[1]) // of one or two digits
	s.length = time.Duration(n) * time.Hour
	if s.length > day || s.hourly && s.length > s.every {
		return apiErr("InvalidParameterException",
			"Duration %q: the window must not extend into the next UTC day or the next window", text)
	}
	return nil
}

// next returns when the first window after a rotation opens and closes.
func (s *schedule) next(rotated time.Time) (opens, closes time.Time) {
	rotated = rotated.UTC()
	if opens = rotated.Truncate(day).Add(s.every); s.hourly {
		opens = rotated.Truncate(time.Hour).Add(s.every)
	}
	switch {
	case s.length != 0:
		return opens, opens.Add(s.length)
	case s.hourly:
		return opens, opens.Add(time.Hour)
	}
	return opens, opens.Truncate(day).Add(day - time.Second)
}

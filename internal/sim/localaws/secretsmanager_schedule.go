package localaws

import (
	"math/bits"
	"regexp"
	"slices"
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

// schedule says when a secret is rotated: in windows that open on the hour.
//
// Source: Secrets Manager User Guide, "Rotation schedules"; API Reference, RotationRulesType.
type schedule struct {
	every  time.Duration // between rotations; zero: by cron
	cron   *cron         // nil: by rate, or never
	hourly bool          // several windows a day
	length time.Duration // of a window; zero: one hour where it is hourly, else to the end of the day
}

const day = 24 * time.Hour

var (
	rate           = regexp.MustCompile(`^rate\(([1-9]\d{0,3}) (hours?|days?)\)$`)
	cronExpression = regexp.MustCompile(`^cron\((.+)\)$`)
	duration       = regexp.MustCompile(`^([1-9]\d?)h$`)
)

// schedule reads the rules; nil: there is no schedule.
func (r rules) schedule() (*schedule, error) {
	s := &schedule{every: time.Duration(r.AutomaticallyAfterDays) * day}
	rated, crons := rate.FindStringSubmatch(r.ScheduleExpression), cronExpression.FindStringSubmatch(r.ScheduleExpression)
	switch {
	case r.ScheduleExpression != "" && r.AutomaticallyAfterDays != 0:
		return nil, apiErr("InvalidParameterException", "You can't specify both AutomaticallyAfterDays and ScheduleExpression.")
	case r.AutomaticallyAfterDays < 0 || r.AutomaticallyAfterDays > 1000:
		return nil, apiErr("ValidationException", "AutomaticallyAfterDays must be 1 to 1000")
	case rated != nil:
		n, _ := strconv.Atoi(rated[1]) // of one to four digits
		s.hourly = rated[2][0] == 'h'
		if s.every = time.Duration(n) * day; s.hourly {
			s.every = time.Duration(n) * time.Hour
		}
		if s.every < 4*time.Hour || s.every > 999*day {
			return nil, apiErr("ValidationException", "ScheduleExpression %q: want 4 hours to 999 days", r.ScheduleExpression)
		}
	case crons != nil:
		if s.cron = parseCron(crons[1]); s.cron == nil {
			return nil, apiErr("ValidationException", "ScheduleExpression %q: want cron(0 Hours Day-of-month Month Day-of-week *), 4 hours apart, with ? for one of the days", r.ScheduleExpression)
		}
		s.hourly = bits.OnesCount64(s.cron.hours) > 1
	case r.ScheduleExpression != "":
		return nil, apiErr("ValidationException", "ScheduleExpression %q: want rate(N hours), rate(N days) or cron(…)", r.ScheduleExpression)
	}
	if s.every == 0 && s.cron == nil {
		return nil, nil
	}
	return s, s.setLength(r.Duration)
}

// setLength reads the length of a window, which must end before the next window and the next day begin.
func (s *schedule) setLength(text string) error {
	if text == "" {
		return nil
	}
	parts := duration.FindStringSubmatch(text)
	if parts == nil {
		return apiErr("ValidationException", "Duration %q: want hours, like 3h", text)
	}
	n, _ := strconv.Atoi(parts[1]) // of one or two digits
	room := 24
	switch {
	case s.cron != nil:
		room = s.cron.room()
	case s.hourly:
		room = min(room, int(s.every/time.Hour))
	}
	if n > room {
		return apiErr("InvalidParameterException", "Duration %q: the window must not extend into the next UTC day or the next window", text)
	}
	s.length = time.Duration(n) * time.Hour
	return nil
}

// next returns when the first window after a rotation opens and closes. Zero times: it never does.
func (s *schedule) next(after time.Time) (opens, closes time.Time) {
	after = after.UTC()
	switch {
	case s.cron != nil:
		if opens = s.cron.next(after); opens.IsZero() {
			return opens, opens
		}
	case s.hourly:
		opens = after.Truncate(time.Hour).Add(s.every)
	default:
		opens = after.Truncate(day).Add(s.every)
	}
	switch {
	case s.length != 0:
		return opens, opens.Add(s.length)
	case s.hourly:
		return opens, opens.Add(time.Hour)
	}
	return opens, opens.Truncate(day).Add(day - time.Second)
}

// cron is a cron expression. A set has bit n for the value n.
type cron struct {
	hours, days, months, weekdays uint64 // weekdays count from 1, Sunday
	lastDay                       bool   // of the month
	nth                           int    // which of these weekdays in the month; zero: each; -1: the last
}

var (
	monthNames   = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekdayNames = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// parseCron returns nil when the expression makes no sense.
func parseCron(text string) *cron {
	f := strings.Fields(strings.ToUpper(text))
	if len(f) != 6 || f[0] != "0" || f[5] != "*" || (f[2] == "?") == (f[4] == "?") {
		return nil
	}
	c := &cron{hours: set(f[1], 0, 23, nil), months: set(f[3], 1, 12, monthNames)}
	switch weekday, nth, numbered := strings.Cut(f[4], "#"); {
	case f[2] == "L":
		c.lastDay = true
	case f[4] == "?":
		c.days = set(f[2], 1, 31, nil)
	case f[4] == "L":
		c.weekdays = 1 << 7
	case numbered:
		c.nth, _ = strconv.Atoi(nth)
		c.weekdays = set(weekday, 1, 7, weekdayNames)
		if c.nth < 1 || c.nth > 5 {
			return nil
		}
	case strings.HasSuffix(f[4], "L"):
		c.nth, c.weekdays = -1, set(strings.TrimSuffix(f[4], "L"), 1, 7, weekdayNames)
	default:
		c.weekdays = set(f[4], 1, 7, weekdayNames)
	}
	if c.hours == 0 || c.months == 0 || c.days|c.weekdays == 0 && !c.lastDay || c.gap() < 4 {
		return nil
	}
	return c
}

// set reads a field like 1-5,8/2 or MON-FRI. Zero: it makes no sense.
func set(text string, low, high int, names []string) (all uint64) {
	value := func(text string) int {
		if i := slices.Index(names, text); i >= 0 {
			return i + low
		}
		n, err := strconv.Atoi(text)
		if err != nil || n > high {
			return -1
		}
		return n
	}
	for part := range strings.SplitSeq(text, ",") {
		base, every, stepped := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(base, "-")
		first, last, step := low, high, 1
		if base != "*" && !(stepped && base == "") {
			first = value(from)
			if last = first; isRange {
				last = value(to)
			} else if stepped {
				last = high
			}
		}
		if stepped {
			step = value(every)
		}
		if first < low || last < first || step < 1 {
			return 0
		}
		for n := first; n <= last; n += step {
			all |= 1 << n
		}
	}
	return all
}

// gap is the shortest time between two hours of a day.
func (c *cron) gap() int {
	gap := 24
	for rest := c.hours; rest&(rest-1) != 0; rest &= rest - 1 {
		gap = min(gap, bits.TrailingZeros64(rest&(rest-1))-bits.TrailingZeros64(rest))
	}
	return gap
}

// room is how long a window can be: to the next one, or to the end of the day.
func (c *cron) room() int { return min(c.gap(), 24-(bits.Len64(c.hours)-1)) }

// next returns the first hour after a time. Zero: there is none within a year, which is how far schedules go.
func (c *cron) next(after time.Time) time.Time {
	for t := after.Truncate(time.Hour).Add(time.Hour); t.Before(after.Add(367 * day)); t = t.Add(time.Hour) {
		if c.hours&(1<<t.Hour()) != 0 && c.months&(1<<t.Month()) != 0 && c.onDay(t) {
			return t
		}
	}
	return time.Time{}
}

func (c *cron) onDay(t time.Time) bool {
	switch {
	case c.lastDay:
		return t.AddDate(0, 0, 1).Day() == 1
	case c.days != 0:
		return c.days&(1<<t.Day()) != 0
	case c.weekdays&(2<<t.Weekday()) == 0:
		return false
	case c.nth == -1:
		return t.AddDate(0, 0, 7).Month() != t.Month()
	}
	return c.nth == 0 || c.nth == (t.Day()+6)/7
}

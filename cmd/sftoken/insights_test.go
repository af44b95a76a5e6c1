package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// insights runs the part of CloudWatch Logs Insights' language that docs/queries.md uses, on JSON log lines: fields, filter, parse
// with a glob, stats, sort and limit. What the language does not document it refuses, so that no query depends on it. Source:
// CloudWatch Logs User Guide, "CloudWatch Logs Insights language query syntax" and "Supported logs and discovered fields".
type insights struct {
	rows  []row
	known map[string]bool // fields that some row has had
}

// row is one log event, or one line of a result. Nested JSON is flattened: caller.arn.
type row map[string]any

func newInsights(lines []string) (*insights, error) {
	q := &insights{known: map[string]bool{}}
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			return nil, fmt.Errorf("not a JSON line: %w", err)
		}
		r := row{"@message": line}
		if text, ok := fields["time"].(string); ok { // CloudWatch has the time at which the line was written
			at, err := time.Parse(time.RFC3339Nano, text)
			if err == nil {
				r["@timestamp"] = float64(at.UnixMilli())
			}
		}
		r.flatten("", fields)
		q.rows = append(q.rows, r)
		q.learn(r)
	}
	return q, nil
}

func (q *insights) learn(r row) {
	for name := range r {
		q.known[name] = true
	}
}

func (r row) flatten(prefix string, fields map[string]any) {
	for name, value := range fields {
		if nested, ok := value.(map[string]any); ok {
			r.flatten(prefix+name+".", nested)
			continue
		}
		r[prefix+name] = value
	}
}

var lexeme = regexp.MustCompile(`^\s*("(?:[^"\\]|\\.)*"|/(?:[^/\\]|\\.)*/|[0-9]+(?:\.[0-9]+)?[a-z]*|[@A-Za-z_][A-Za-z0-9_.]*|!=|<=|>=|[=<>|,()*\[\]])`)

// lexemes splits a query. A comment begins with #.
func lexemes(text string) ([]string, error) {
	text = regexp.MustCompile(`(?m)^\s*#.*$`).ReplaceAllString(text, "")
	var all []string
	for strings.TrimSpace(text) != "" {
		found := lexeme.FindStringSubmatch(text)
		if found == nil {
			return nil, fmt.Errorf("cannot read %.20q", strings.TrimSpace(text))
		}
		all = append(all, found[1])
		text = text[len(found[0]):]
	}
	return all, nil
}

// run runs a query and returns the rows that it leaves.
func (q *insights) run(text string) (rows []row, err error) {
	defer func() {
		if failed, ok := recover().(syntaxError); ok {
			err = failed
		}
	}()
	all, err := lexemes(text)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: all, known: maps.Clone(q.known)}
	rows = q.rows
	for {
		command := p.next()
		run, ok := map[string]func(*parser, []row) []row{
			"fields": runFields, "filter": runFilter, "parse": runParse, "stats": runStats, "sort": runSort, "limit": runLimit,
		}[command]
		if !ok {
			return nil, fmt.Errorf("there is no command %q here", command)
		}
		rows = run(p, rows)
		if p.peek() == "" {
			return rows, nil
		}
		p.want("|")
	}
}

type parser struct {
	tokens []string
	known  map[string]bool
}

type syntaxError struct{ error }

func (p *parser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *parser) next() string {
	t := p.peek()
	p.tokens = p.tokens[min(1, len(p.tokens)):]
	return t
}

func (p *parser) accept(t string) bool {
	if p.peek() != t {
		return false
	}
	p.next()
	return true
}

func (p *parser) want(t string) {
	if got := p.next(); got != t {
		fail("want %q, not %q", t, got)
	}
}

func fail(format string, args ...any) { panic(syntaxError{fmt.Errorf(format, args...)}) }

// field reads the name of a field, which some event must have: a name that is misspelt matches nothing, and says nothing.
func (p *parser) field() string {
	name := p.next()
	if !p.known[name] {
		fail("no line has a field %q", name)
	}
	return name
}

func (p *parser) list(one func()) {
	for one(); p.accept(","); {
		one()
	}
}

func runFields(p *parser, rows []row) []row {
	p.list(func() { p.field() }) // which are shown is nothing to check
	return rows
}

// runParse takes the texts that stand for * out of a field.
func runParse(p *parser, rows []row) []row {
	from, glob := p.field(), unquote(p.next())
	p.want("as")
	var names []string
	p.list(func() { names = append(names, p.next()) })
	re := regexp.MustCompile("(?s)" + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, "(.*?)"))
	if strings.HasSuffix(glob, "*") {
		re = regexp.MustCompile(re.String() + "$")
	}
	if strings.Count(glob, "*") != len(names) {
		fail("%d names for %q", len(names), glob)
	}
	var parsed []row
	for _, r := range rows {
		next := maps.Clone(r)
		for i, text := range re.FindStringSubmatch(show(r[from])) {
			if i > 0 {
				next[names[i-1]] = text
			}
		}
		parsed = append(parsed, next)
	}
	for _, name := range names {
		p.known[name] = true
	}
	return parsed
}

func runSort(p *parser, rows []row) []row {
	name := p.field()
	order := 1
	if direction := p.next(); direction == "desc" {
		order = -1
	} else if direction != "asc" {
		fail("say asc or desc")
	}
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b row) int {
		if compares(show(a[name]), "=", show(b[name])) {
			return 0
		}
		if compares(show(a[name]), "<", show(b[name])) {
			return -order
		}
		return order
	})
	return sorted
}

func runLimit(p *parser, rows []row) []row {
	n, err := strconv.Atoi(p.next())
	if err != nil {
		fail("limit: %v", err)
	}
	return rows[:min(n, len(rows))]
}

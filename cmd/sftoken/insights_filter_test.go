package main

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func runFilter(p *parser, rows []row) []row {
	holds := p.either()
	var left []row
	for _, r := range rows {
		if holds(r) {
			left = append(left, r)
		}
	}
	return left
}

type condition func(row) bool

func (p *parser) either() condition {
	left := p.both()
	for p.accept("or") {
		one, other := left, p.both()
		left = func(r row) bool { return one(r) || other(r) }
	}
	return left
}

func (p *parser) both() condition {
	left := p.one()
	for p.accept("and") {
		one, other := left, p.one()
		left = func(r row) bool { return one(r) && other(r) }
	}
	return left
}

func (p *parser) one() condition {
	switch {
	case p.accept("not"):
		not := p.one()
		return func(r row) bool { return !not(r) }
	case p.accept("("):
		inner := p.either()
		p.want(")")
		return inner
	case p.accept("ispresent"):
		p.want("(")
		name := p.field()
		p.want(")")
		return func(r row) bool { return r[name] != nil }
	}
	name := p.field()
	switch operator := p.next(); operator {
	case "like":
		pattern := p.next()
		if !strings.HasPrefix(pattern, "/") {
			return func(r row) bool { return strings.Contains(show(r[name]), unquote(pattern)) }
		}
		re := regexp.MustCompile(strings.Trim(pattern, "/"))
		return func(r row) bool { return re.MatchString(show(r[name])) }
	case "in":
		var values []string
		p.want("[")
		p.list(func() { values = append(values, unquote(p.next())) })
		p.want("]")
		return func(r row) bool { return r[name] != nil && slices.Contains(values, show(r[name])) }
	case "=", "!=", "<", "<=", ">", ">=":
		value := unquote(p.next())
		return func(r row) bool {
			if r[name] == nil && operator == "!=" {
				fail("%s is not in every line, and what != does then is not documented: ask ispresent first", name)
			}
			return r[name] != nil && compares(show(r[name]), operator, value)
		}
	default:
		fail("there is no operator %q here", operator)
		return nil
	}
}

func compares(a, operator, b string) bool {
	order := cmp.Compare(a, b)
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errors.Join(errX, errY) == nil {
		order = cmp.Compare(x, y)
	}
	switch operator {
	case "=":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

func unquote(t string) string {
	if text, err := strconv.Unquote(t); err == nil {
		return text
	}
	if _, err := strconv.ParseFloat(t, 64); err != nil {
		fail("want a text in quotes or a number, not %q", t)
	}
	return t
}

func show(value any) string {
	if number, ok := value.(float64); ok {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

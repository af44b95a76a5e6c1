package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// runStats is the command stats: aggregates, by fields or spans of time.
func runStats(p *parser, rows []row) []row {
	type column struct {
		name string
		of   func([]row) any
	}
	var columns []column
	p.list(func() {
		name, of := p.aggregate()
		if p.accept("as") {
			name = p.next()
		}
		columns = append(columns, column{name, of})
	})
	type group struct {
		name string
		of   func(row) any
	}
	var by []group
	if p.accept("by") {
		p.list(func() {
			name, of := p.group()
			by = append(by, group{name, of})
		})
	}
	var order []string
	groups := map[string][]row{}
	for _, r := range rows {
		var key []string
		for _, g := range by {
			key = append(key, fmt.Sprintf("%q", show(g.of(r))))
		}
		id := strings.Join(key, " ")
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], r)
	}
	known := map[string]bool{}
	var result []row
	for _, id := range order {
		line := row{}
		for _, g := range by {
			line[g.name] = g.of(groups[id][0])
		}
		for _, c := range columns {
			line[c.name] = c.of(groups[id])
		}
		result = append(result, line)
	}
	for _, g := range by {
		known[g.name] = true
	}
	for _, c := range columns {
		known[c.name] = true
	}
	p.known = known // what follows sees the result alone
	return result
}

// group reads a field, or bin(1h).
func (p *parser) group() (string, func(row) any) {
	if !p.accept("bin") {
		name := p.field()
		return name, func(r row) any { return r[name] }
	}
	p.want("(")
	text := p.next()
	span, err := time.ParseDuration(strings.Replace(text, "1d", "24h", 1))
	if err != nil {
		fail("bin: %v", err)
	}
	p.want(")")
	return "bin(" + text + ")", func(r row) any {
		at, _ := r["@timestamp"].(float64)
		return time.UnixMilli(int64(at)).UTC().Truncate(span).Format(time.RFC3339)
	}
}

// aggregate reads count(*), sum(field) and the like.
func (p *parser) aggregate() (string, func([]row) any) {
	function := p.next()
	p.want("(")
	if function == "count" && p.accept("*") {
		p.want(")")
		return "count(*)", func(rows []row) any { return float64(len(rows)) }
	}
	field := p.field()
	percentile := 0.0
	if function == "pct" {
		p.want(",")
		percentile, _ = strconv.ParseFloat(p.next(), 64)
	}
	p.want(")")
	return function + "(" + field + ")", func(rows []row) any { return aggregate(function, field, percentile, rows) }
}

func aggregate(function, field string, percentile float64, rows []row) any {
	var numbers []float64
	distinct := map[string]bool{}
	var first, last any
	for _, r := range rows {
		if r[field] == nil {
			continue
		}
		if number, ok := r[field].(float64); ok {
			numbers = append(numbers, number)
		}
		distinct[show(r[field])] = true
		if first == nil {
			first = r[field] // lines come in the order in which they were written
		}
		last = r[field]
	}
	slices.Sort(numbers)
	sum := 0.0
	for _, n := range numbers {
		sum += n
	}
	switch {
	case function == "count_distinct":
		return float64(len(distinct))
	case function == "earliest":
		return first
	case function == "latest":
		return last
	case function == "sum":
		return sum
	case len(numbers) == 0:
		fail("%s(%s): the field is no number in these lines", function, field)
	case function == "max":
		return numbers[len(numbers)-1]
	case function == "pct":
		return numbers[min(int(float64(len(numbers))*percentile/100), len(numbers)-1)]
	default:
		fail("there is no function %s here", function)
	}
	return nil
}

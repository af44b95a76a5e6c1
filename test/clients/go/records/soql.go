package records

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// soql is a query in a subset of SOQL:
//
//	SELECT field, … | COUNT() FROM object [WHERE condition AND …] [ORDER BY field [ASC | DESC]] [LIMIT n]
//
// where a condition is field = | != | LIKE literal, or field IN (literal, …).
//
// Source: SOQL and SOSL Reference, "SOQL SELECT Syntax".
type soql struct {
	fields     []string
	count      bool
	from       string
	where      []condition
	order      string
	descending bool
	limit      int // negative: none
}

type condition struct {
	field, operator string
	values          []any // string, float64, bool or nil
}

// names returns the fields that the query mentions.
func (q *soql) names() []string {
	names := slices.Clone(q.fields)
	for _, c := range q.where {
		names = append(names, c.field)
	}
	if q.order != "" {
		names = append(names, q.order)
	}
	return names
}

var soqlToken = regexp.MustCompile(`'(?:[^'\\]|\\.)*'|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|!=|<>|\S`)

// parser consumes tokens.
type parser struct{ tokens []string }

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	token := p.tokens[0]
	p.tokens = p.tokens[1:]
	return token
}

// skip consumes the words, in any case, if they come next, and reports whether they did.
func (p *parser) skip(words ...string) bool {
	if len(p.tokens) < len(words) {
		return false
	}
	for i, word := range words {
		if !strings.EqualFold(p.tokens[i], word) {
			return false
		}
	}
	p.tokens = p.tokens[len(words):]
	return true
}

func parseSOQL(query string) (*soql, error) {
	p := &parser{soqlToken.FindAllString(query, -1)}
	q := &soql{limit: -1}
	unexpected := func() (*soql, error) { return nil, fmt.Errorf("unexpected token: '%s'", p.next()) }
	if !p.skip("SELECT") {
		return unexpected()
	}
	if q.count = p.skip("COUNT", "(", ")"); !q.count {
		for q.fields = []string{p.next()}; p.skip(","); {
			q.fields = append(q.fields, p.next())
		}
	}
	if !p.skip("FROM") {
		return unexpected()
	}
	q.from = p.next()
	if p.skip("WHERE") {
		for more := true; more; more = p.skip("AND") {
			c, ok := p.condition()
			if !ok {
				return unexpected()
			}
			q.where = append(q.where, c)
		}
	}
	if p.skip("ORDER", "BY") {
		q.order, q.descending = p.next(), p.skip("DESC")
		p.skip("ASC")
	}
	if p.skip("LIMIT") {
		limit, err := strconv.Atoi(p.next())
		if err != nil || limit < 0 {
			return unexpected()
		}
		q.limit = limit
	}
	if len(p.tokens) > 0 {
		return unexpected()
	}
	return q, nil
}

func (p *parser) condition() (c condition, ok bool) {
	c.field = p.next()
	for _, operator := range []string{"=", "!=", "<>", "LIKE", "IN"} {
		if p.skip(operator) {
			c.operator = strings.Replace(operator, "<>", "!=", 1)
		}
	}
	if c.operator == "" || c.operator == "IN" && !p.skip("(") {
		return c, false
	}
	for more := true; more; more = c.operator == "IN" && p.skip(",") {
		value, ok := literal(p.next())
		if !ok {
			return c, false
		}
		c.values = append(c.values, value)
	}
	return c, c.operator != "IN" || p.skip(")")
}

var unescape = strings.NewReplacer(
	`\'`, "'", `\"`, `"`, `\\`, `\`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\%`, "%", `\_`, "_",
)

func literal(token string) (any, bool) {
	switch {
	case len(token) >= 2 && strings.HasPrefix(token, "'"):
		return unescape.Replace(token[1 : len(token)-1]), true
	case strings.EqualFold(token, "null"):
		return nil, true
	case strings.EqualFold(token, "true"), strings.EqualFold(token, "false"):
		return strings.EqualFold(token, "true"), true
	}
	n, err := strconv.ParseFloat(token, 64)
	return n, err == nil
}

// matches reports whether the record meets the condition. Texts are compared without regard to case, ids by their first
// 15 characters.
func (c *condition) matches(o *object, r record) bool {
	f, _ := o.field(c.field)
	value := r[f.name]
	switch c.operator {
	case "LIKE":
		pattern := strings.NewReplacer("%", ".*", "_", ".").Replace(regexp.QuoteMeta(text(c.values[0])))
		matched, err := regexp.MatchString("(?is)^"+pattern+"$", text(value))
		return err == nil && matched
	case "!=":
		return !equal(f, value, c.values[0])
	default:
		return slices.ContainsFunc(c.values, func(wanted any) bool { return equal(f, value, wanted) })
	}
}

func equal(f field, value, wanted any) bool {
	one, isText := value.(string)
	other, wantsText := wanted.(string)
	switch {
	case isText && wantsText && f.kind == "id":
		return sameID(one, other)
	case isText && wantsText:
		return strings.EqualFold(one, other)
	default:
		return value == wanted
	}
}

func text(value any) string { s, _ := value.(string); return s }

func number(value any) float64 { n, _ := value.(float64); return n }

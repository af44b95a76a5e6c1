package sfoauthtest

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Batches of query results. Sources: REST API Developer Guide, "Query", "Query More Results", "Query Options Header"; SOQL and
// SOSL Reference, "SOQL and SOSL Limits": of one user's open cursors the oldest is released for the eleventh.
const (
	defaultBatch, minBatch = 2000, 200
	maxCursors             = 10
)

// cursor is what is left of a query.
type cursor struct {
	locator string
	user    *User
	rows    []any
}

// query answers …/query and …/queryAll, which finds deleted records too.
func (o *Org) query(r *request, s *session, deleted bool) *answer {
	q, err := parseSOQL(r.URL.Query().Get("q"))
	if err != nil {
		return restError(http.StatusBadRequest, "MALFORMED_QUERY", err.Error())
	}
	b := o.findObject(q.from)
	if b == nil {
		return restError(http.StatusBadRequest, "INVALID_TYPE", "sObject type '"+q.from+"' is not supported.")
	}
	for _, name := range q.names() {
		if _, known := b.field(name); !known {
			return restError(http.StatusBadRequest, "INVALID_FIELD", "No such column '"+name+"' on entity '"+b.name+"'.")
		}
	}
	found := q.find(b, deleted)
	if q.count {
		return ok200(map[string]any{"totalSize": len(found), "done": true, "records": []any{}})
	}
	rows := make([]any, 0, len(found))
	for _, one := range found {
		row := map[string]any{}
		for _, name := range q.fields {
			f, _ := b.field(name)
			row[f.name] = one[f.name]
		}
		rows = append(rows, b.attributed(r, row, one.id()))
	}
	return o.batch(r, &cursor{"01g" + randomText(12), s.user, rows}, 0)
}

// more answers …/query/{locator}-{offset}.
func (o *Org) more(r *request, s *session, name string) *answer {
	locator, position, _ := strings.Cut(name, "-")
	offset, err := strconv.Atoi(position)
	i := slices.IndexFunc(o.cursors, func(c *cursor) bool { return c.locator == locator && c.user == s.user })
	if err != nil || i < 0 || offset < 0 || offset >= len(o.cursors[i].rows) {
		return restError(http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	return o.batch(r, o.cursors[i], offset)
}

// batch answers with the rows from offset on, as many as the client wants at once, and keeps the cursor where there are more.
func (o *Org) batch(r *request, c *cursor, offset int) *answer {
	size := defaultBatch
	if option, ok := strings.CutPrefix(r.Header.Get("Sforce-Query-Options"), "batchSize="); ok {
		if n, err := strconv.Atoi(strings.TrimSpace(option)); err == nil {
			size = min(max(n, minBatch), defaultBatch)
		}
	}
	end := min(offset+size, len(c.rows))
	fields := map[string]any{"totalSize": len(c.rows), "done": end == len(c.rows), "records": c.rows[offset:end]}
	if end < len(c.rows) {
		fields["nextRecordsUrl"] = "/services/data/" + r.ids["version"] + "/query/" + c.locator + "-" + strconv.Itoa(end)
		o.keepCursor(c)
	}
	return ok200(fields)
}

func (o *Org) keepCursor(c *cursor) {
	if slices.Contains(o.cursors, c) {
		return
	}
	o.cursors = append(o.cursors, c)
	open := 0
	for _, other := range slices.Backward(o.cursors) {
		if other.user == c.user {
			if open++; open > maxCursors {
				o.cursors = slices.DeleteFunc(o.cursors, func(oldest *cursor) bool { return oldest == other })
				return
			}
		}
	}
}

// find returns the records that the query is for, in its order: without regard to case, those without a value first. Source: SOQL
// and SOSL Reference, "ORDER BY".
func (q *soql) find(b *object, deleted bool) []record {
	var found []record
	for _, r := range b.records {
		if r.deleted() && !deleted {
			continue
		}
		if !slices.ContainsFunc(q.where, func(c condition) bool { return !c.holds(b, r) }) {
			found = append(found, maps.Clone(r))
		}
	}
	if f, ordered := b.field(q.order); ordered {
		slices.SortStableFunc(found, func(one, other record) int {
			order := cmp.Or(cmp.Compare(number(one[f.name]), number(other[f.name])), strings.Compare(strings.ToLower(text(one[f.name])), strings.ToLower(text(other[f.name]))))
			if q.descending {
				return -order
			}
			return order
		})
	}
	if q.limit >= 0 {
		found = found[:min(q.limit, len(found))]
	}
	return found
}

package records

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of query results. A user can have ten open cursors; opening another releases the oldest. Sources: REST
// API Developer Guide, "Query", "Query More Results", "Query Options Header"; SOQL and SOSL Reference, "SOQL and SOSL
// Limits".
const (
	defaultBatch, minBatch = 2000, 200
	maxCursors             = 10
)

// cursor holds the rows of a query.
type cursor struct {
	locator string
	user    string // id
	rows    []any
}

// query serves …/query, and …/queryAll, which finds deleted records too.
func (h *Handler) query(r *request, deleted bool) *response {
	q, err := parseSOQL(r.URL.Query().Get("q"))
	if err != nil {
		return restError(http.StatusBadRequest, "MALFORMED_QUERY", err.Error())
	}
	o := h.findObject(q.from)
	if o == nil {
		return restError(http.StatusBadRequest, "INVALID_TYPE", "sObject type '"+q.from+"' is not supported.")
	}
	for _, name := range q.names() {
		if _, known := o.field(name); !known {
			return restError(http.StatusBadRequest, "INVALID_FIELD", "No such column '"+name+"' on entity '"+o.name+"'.")
		}
	}
	if r.URL.Query().Get("columns") == "true" {
		return ok200(map[string]any{"entityName": o.name, "columnMetadata": q.columns(o)})
	}
	found := q.find(o, deleted)
	if q.count {
		return ok200(map[string]any{"totalSize": len(found), "done": true, "records": []any{}})
	}
	rows := make([]any, 0, len(found))
	for _, one := range found {
		row := map[string]any{}
		for _, name := range q.fields {
			f, _ := o.field(name)
			row[f.name] = one[f.name]
		}
		rows = append(rows, o.withAttributes(r, row, one.id()))
	}
	return h.batch(r, &cursor{"01g" + rand.Text()[:12], r.user, rows}, 0)
}

// columns describes the columns of the result, which the Salesforce CLI requests with columns=true before each query.
func (q *soql) columns(o *object) []any {
	list := []any{}
	for _, name := range q.fields {
		f, _ := o.field(name)
		list = append(list, map[string]any{
			"columnName": f.name, "displayName": f.name, "textType": f.length > 0, "aggregate": false, "joinColumns": []any{},
		})
	}
	return list
}

// more serves …/query/{locator}-{offset}.
func (h *Handler) more(r *request, name string) *response {
	locator, position, _ := strings.Cut(name, "-")
	offset, err := strconv.Atoi(position)
	i := slices.IndexFunc(h.cursors, func(c *cursor) bool { return c.locator == locator && c.user == r.user })
	if err != nil || i < 0 || offset < 0 || offset >= len(h.cursors[i].rows) {
		return restError(http.StatusBadRequest, "INVALID_QUERY_LOCATOR", "invalid query locator")
	}
	return h.batch(r, h.cursors[i], offset)
}

// batch returns the rows from offset, as many as the client asks for, and keeps the cursor where there are more.
func (h *Handler) batch(r *request, c *cursor, offset int) *response {
	size := defaultBatch
	if option, ok := strings.CutPrefix(r.Header.Get("Sforce-Query-Options"), "batchSize="); ok {
		if n, err := strconv.Atoi(strings.TrimSpace(option)); err == nil {
			size = min(max(n, minBatch), defaultBatch)
		}
	}
	end := min(offset+size, len(c.rows))
	fields := map[string]any{"totalSize": len(c.rows), "done": end == len(c.rows), "records": c.rows[offset:end]}
	if end < len(c.rows) {
		fields["nextRecordsUrl"] = r.base + "/query/" + c.locator + "-" + strconv.Itoa(end)
		h.keepCursor(c)
	}
	return ok200(fields)
}

func (h *Handler) keepCursor(c *cursor) {
	if slices.Contains(h.cursors, c) {
		return
	}
	h.cursors = append(h.cursors, c)
	open := 0
	for _, other := range slices.Backward(h.cursors) {
		if other.user == c.user {
			if open++; open > maxCursors {
				h.cursors = slices.DeleteFunc(h.cursors, func(oldest *cursor) bool { return oldest == other })
				return
			}
		}
	}
}

// find returns the matching records in the query's order: without regard to case, those without a value first. Source:
// SOQL and SOSL Reference, "ORDER BY".
func (q *soql) find(o *object, deleted bool) []record {
	var found []record
	for _, r := range o.records {
		if r.deleted() && !deleted {
			continue
		}
		if !slices.ContainsFunc(q.where, func(c condition) bool { return !c.matches(o, r) }) {
			found = append(found, maps.Clone(r))
		}
	}
	if f, ordered := o.field(q.order); ordered {
		slices.SortStableFunc(found, func(a, b record) int {
			order := cmp.Or(cmp.Compare(number(a[f.name]), number(b[f.name])),
				strings.Compare(strings.ToLower(text(a[f.name])), strings.ToLower(text(b[f.name]))))
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

package sfoauthtest

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// query answers a small part of SOQL: SELECT fields or COUNT() FROM object [LIMIT n], over a few fixed records.
func (o *Org) query(r *request, soql string) *answer {
	m := regexp.MustCompile(`(?i)^\s*select\s+(.+?)\s+from\s+(\w+)(?:\s+limit\s+(\d+))?\s*$`).FindStringSubmatch(soql)
	if m == nil {
		return restError(http.StatusBadRequest, "MALFORMED_QUERY", "unexpected token in the query")
	}
	object, records := o.records(m[2])
	if records == nil {
		return restError(http.StatusBadRequest, "INVALID_TYPE", "sObject type '"+m[2]+"' is not supported.")
	}
	if strings.EqualFold(strings.ReplaceAll(m[1], " ", ""), "count()") {
		return ok200(map[string]any{"totalSize": len(records), "done": true, "records": []any{}})
	}
	if limit, err := strconv.Atoi(m[3]); err == nil {
		records = records[:min(limit, len(records))]
	}
	rows := []any{}
	for _, record := range records {
		row := map[string]any{"attributes": map[string]string{
			"type": object, "url": "/services/data/" + r.ids["version"] + "/sobjects/" + object + "/" + record["Id"],
		}}
		for field := range strings.SplitSeq(m[1], ",") {
			name, value, ok := lookUp(record, strings.TrimSpace(field))
			if !ok {
				return restError(http.StatusBadRequest, "INVALID_FIELD", "No such column '"+strings.TrimSpace(field)+"' on entity '"+object+"'.")
			}
			row[name] = value
		}
		rows = append(rows, row)
	}
	return ok200(map[string]any{"totalSize": len(rows), "done": true, "records": rows})
}

// records returns an object's name as Salesforce writes it, and its records; none where the object does not exist.
func (o *Org) records(object string) (string, []map[string]string) {
	switch strings.ToLower(object) {
	case "account":
		return "Account", []map[string]string{
			{"Id": "001000000000001AAA", "Name": "Acme", "Industry": "Manufacturing"},
			{"Id": "001000000000002AAA", "Name": "Global Media", "Industry": "Media"},
			{"Id": "001000000000003AAA", "Name": "Edge Communications", "Industry": "Electronics"},
		}
	case "organization":
		return "Organization", []map[string]string{{"Id": o.id, "Name": "Simulated org"}}
	case "user":
		var users []map[string]string
		for _, u := range o.users {
			users = append(users, map[string]string{"Id": u.ID, "Username": u.options.Username})
		}
		return "User", users
	default:
		return "", nil
	}
}

// lookUp finds a field without regard to case, as SOQL does.
func lookUp(record map[string]string, field string) (name, value string, ok bool) {
	for name, value := range record {
		if strings.EqualFold(name, field) {
			return name, value, true
		}
	}
	return "", "", false
}

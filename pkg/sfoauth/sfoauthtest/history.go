package sfoauthtest

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// loginRecord is a record of LoginHistory.
type loginRecord struct {
	id          string // 0Ya…
	at          time.Time
	sourceIP    string
	status      string // "Success", or why the attempt failed
	application string
}

// maxHistory is how many records of a user the org keeps. Salesforce keeps those of six months.
const maxHistory = 200

// succeeded is the status of a login. The other statuses are a choice.
const succeeded = "Success"

// record adds an attempt to log in to the user's login history. Attempts with wrong credentials are not in it, because
// they name no user; that is a choice.
func (u *User) record(r *request, app *App, status string) {
	u.history = append(u.history, loginRecord{
		newID("0Ya"), u.org.config.Now(), u.org.sourceIP(r.Request), status, app.options.Name,
	})
	u.history = u.history[max(0, len(u.history)-maxHistory):]
}

// sourceIP returns the address from which the org sees the request.
func (o *Org) sourceIP(r *http.Request) string {
	if o.config.SourceIP != nil {
		return o.config.SourceIP(r)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// admits reports whether the user's login IP ranges have the address. Without ranges every address may log in.
func (u *User) admits(sourceIP string) bool {
	addr, err := netip.ParseAddr(sourceIP)
	contains := func(p netip.Prefix) bool { return err == nil && p.Contains(addr.Unmap()) }
	return len(u.options.LoginIPRanges) == 0 || slices.ContainsFunc(u.options.LoginIPRanges, contains)
}

// queryOrg is the query of the org's own record.
const queryOrg = "SELECT Id, Name, OrganizationType, IsSandbox FROM Organization"

// The org supports two queries of LoginHistory.
var (
	queriedObject = regexp.MustCompile(`(?i)\bFROM\s+(\w+)`)
	countLogins   = regexp.MustCompile(`^SELECT COUNT\(\) FROM LoginHistory WHERE UserId = '(\w+)' AND LoginTime > (\S+)$`)
	lastLogins    = regexp.MustCompile(`^SELECT LoginTime, SourceIp, Status, Application FROM LoginHistory ` +
		`WHERE UserId = '(\w+)' ORDER BY LoginTime DESC LIMIT (\d+)$`)
)

// query serves GET …/query. A user without the permission Manage Users sees only its own records. No document states
// whether a query for those of others is an error; here it is none. A user who may not read an object gets
// INVALID_TYPE.
//
// Sources: Object Reference, "LoginHistory"; REST API Developer Guide, "Execute a SOQL Query"; the error as users
// report it.
func (o *Org) query(r *request, s *session) *response {
	query := r.URL.Query().Get("q")
	object := queriedObject.FindStringSubmatch(query)
	switch {
	case object == nil:
		return malformedQuery("unexpected token: " + strconv.Quote(query))
	case query == queryOrg:
		return queryResult(1, []any{map[string]any{
			"Id": o.id, "Name": "sfoauthtest", "OrganizationType": o.config.OrganizationType, "IsSandbox": o.config.IsSandbox,
		}})
	case object[1] != "LoginHistory" || s.user.options.NoLoginHistory:
		return restError(http.StatusBadRequest, "INVALID_TYPE", "\n"+query+"\n^\nERROR at Row:1:Column:1\nsObject type '"+
			object[1]+"' is not supported. If you are attempting to use a custom object, be sure to append the '__c' after "+
			"the entity name. Please reference your WSDL or the describe call for the appropriate names.")
	}
	if match := countLogins.FindStringSubmatch(query); match != nil {
		return o.countLogins(s.visible(match[1]), match[2])
	}
	match := lastLogins.FindStringSubmatch(query)
	if match == nil {
		return malformedQuery("sfoauthtest supports only the queries of package sfoauth, and " + queryOrg)
	}
	limit, err := strconv.Atoi(match[2])
	if err != nil {
		return malformedQuery("unexpected token: " + match[2])
	}
	return r.lastLogins(s.visible(match[1]), limit)
}

func malformedQuery(message string) *response {
	return restError(http.StatusBadRequest, "MALFORMED_QUERY", message)
}

// visible returns the user with this id if the session's user may read its login history, or else nil.
func (s *session) visible(id string) *User {
	users := s.user.org.users
	i := slices.IndexFunc(users, func(u *User) bool { return equalIDs(u.ID, id) })
	if i < 0 || users[i] != s.user && !s.user.options.ManageUsers {
		return nil
	}
	return users[i]
}

// countLogins counts the logins that succeeded in the last hour; older ones are forgotten.
func (o *Org) countLogins(user *User, after string) *response {
	since, err := time.Parse(time.RFC3339, after)
	if err != nil {
		return malformedQuery("line 1: no viable alternative at " + after)
	}
	n := 0
	if user != nil {
		for _, at := range user.logins {
			if at.After(since) {
				n++
			}
		}
	}
	return queryResult(n, []any{})
}

// lastLogins returns the newest records of the user's login history. LoginTime has whole seconds, as in published
// responses.
func (r *request) lastLogins(user *User, limit int) *response {
	records := []any{}
	if user != nil {
		for _, record := range slices.Backward(user.history[max(0, len(user.history)-limit):]) {
			url := fmt.Sprintf("/services/data/%s/sobjects/LoginHistory/%s", r.ids["version"], record.id)
			records = append(records, map[string]any{
				"attributes": map[string]string{"type": "LoginHistory", "url": url},
				"LoginTime":  record.at.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000+0000"),
				"SourceIp":   record.sourceIP, "Status": record.status, "Application": record.application,
			})
		}
	}
	return queryResult(len(records), records)
}

func queryResult(size int, records []any) *response {
	return ok200(map[string]any{"totalSize": size, "done": true, "records": records})
}

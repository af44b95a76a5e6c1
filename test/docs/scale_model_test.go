package docs

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/loginbudget"
	"github.com/sftoken/sftoken/internal/vending"
)

// scale computes what a deployment carries. Times are in seconds.
type scale struct {
	*testing.T
	inputs map[string]float64 // of the table "Assumptions"
	prices [][]string         // rows of docs/explanation/cost.md, without the table
	shared [][]string         // and what the table adds
}

func newScale(t *testing.T) *scale {
	t.Helper()
	costs := page(t, "docs/explanation/cost.md")
	m := &scale{
		T: t, inputs: map[string]float64{},
		prices: costs.TablesUnder(t, "Cost")[1], shared: costs.TablesUnder(t, "Shared tokens")[0],
	}
	for _, row := range page(t, scalePage).TablesUnder(t, "Assumptions")[0] {
		m.inputs[row[0]] = parseAmount(t, row[1])
	}
	return m
}

func (m *scale) input(name string) float64 {
	m.Helper()
	value, ok := m.inputs[name]
	if !ok {
		m.Fatalf("%s has no assumption %q", scalePage, name)
	}
	return value
}

// busy is the average number of environments that handle a request.
func (m *scale) busy(rate float64) float64 {
	return rate * m.input("time of a request with a cached token")
}

// planned is the number of environments that a steady rate needs.
func (m *scale) planned(rate float64) float64 {
	busy := m.busy(rate)
	perEnvironment := m.input("quota: requests per second and environment, Lambda")
	return max(math.Ceil(busy+4*math.Sqrt(busy)+1), math.Ceil(rate/perEnvironment))
}

// wanted is the number of environments that would start after a deployment.
func (m *scale) wanted(rate float64) float64 {
	return max(m.planned(rate), math.Ceil(rate*m.input("time of the first request of an environment")))
}

// started is how many of these Lambda starts.
func (m *scale) started(rate float64) float64 {
	return min(m.wanted(rate), m.input("quota: concurrent executions, Lambda"))
}

// perHour is how often something is done that is due after an interval, at the next request.
func perHour(interval time.Duration, rate float64) float64 {
	return time.Hour.Seconds() / (interval.Seconds() + 1/rate)
}

const untilIntrospection = vending.DefaultIntrospectInterval - vending.DefaultMinTTL

// competing is the number of environments that try to take the same lease as the one that gets it.
func (m *scale) competing(rate, apps float64) float64 {
	return min(m.planned(rate)-1, rate/apps*m.input("round trip to the table"))
}

// refusals returns the least and the most logins of an hour with refused credentials, of one budget.
func (m *scale) refusals() (least, most float64) {
	backoff := regexp.MustCompile(`double\((\d+)\*time\.Second, (\d+)\*time\.Minute\)`)
	match := backoff.FindStringSubmatch(code(m.T, "internal/vending"))
	if match == nil {
		m.Fatal("internal/vending has no backoff for refused credentials")
	}
	first, _ := strconv.Atoi(match[1])
	longest, _ := strconv.Atoi(match[2])
	at, wait := time.Duration(0), time.Duration(first)*time.Second
	for ; at < time.Hour; at, wait = at+wait, min(2*wait, time.Duration(longest)*time.Minute) {
		least++
	}
	versions := float64(1 + len(appsecret.FallbackLabels))
	return least, min(least*versions, loginbudget.DefaultBurst+loginbudget.DefaultPerHour)
}

// introspections returns their number per hour without and with the table.
func (m *scale) introspections(rate, apps float64) (without, with float64) {
	n := m.planned(rate)
	return n * apps * perHour(untilIntrospection, rate/apps/n), apps * perHour(untilIntrospection, rate/apps)
}

// tableCalls returns the reads and writes of the table per hour.
func (m *scale) tableCalls(rate, apps float64) (reads, writes float64) {
	n := m.planned(rate)
	due, introspections := m.introspections(rate, apps)
	meanwhile := 1 - math.Exp(-rate/apps/n*m.input("time of a login or an introspection"))
	reads = due*(1+meanwhile) + n*apps/m.lifeHours()
	writes = introspections * (2 + m.competing(rate, apps))
	return reads, writes
}

func (m *scale) lifeHours() float64 { return m.input("life of an environment") / time.Hour.Seconds() }

func (m *scale) secretReads(rate, apps float64) float64 {
	n := m.planned(rate)
	return apps * n * perHour(vending.DefaultSecretTTL, rate/apps/n)
}

// share is how much of a quota is used.
type share struct {
	quota string
	when  string // always, or the situation that adds it
	table string // with or without the table; empty: both
	used  float64
}

const (
	always, deployed, due, refused = "always", "after a deployment", "when a token is due", "credentials refused"
	without, with                  = "without the table", "with the table"
)

func (m *scale) shares(rate, apps float64) []share {
	n := m.planned(rate)
	reads, writes := m.itemUnits(rate, apps)
	_, refusals := m.refusals()
	concurrency := m.input("quota: concurrent executions, Lambda")
	secretReads := m.input("quota: reads per second, Secrets Manager")
	logins := m.input("quota: logins per hour and user, Salesforce")
	return []share{
		{"API Gateway, requests", always, "", rate / m.input("quota: requests per second, API Gateway")},
		{"Lambda, concurrency", always, "", n / concurrency},
		{"Lambda, concurrency", deployed, "", m.wanted(rate) / concurrency},
		{"Secrets Manager, reads", always, "", m.secretReads(rate, apps) / time.Hour.Seconds() / secretReads},
		{"Secrets Manager, reads", deployed, "", rate / secretReads}, // one for each request at most
		{"DynamoDB, reads of an item", deployed, with, reads / m.input("quota: read units per second of an item, DynamoDB")},
		{"DynamoDB, writes of an item", due, with, writes / m.input("quota: write units per second of an item, DynamoDB")},
		{"Salesforce, logins of a user", deployed, without, m.started(rate) / logins},
		{"Salesforce, logins of a user", deployed, with, 1 / logins},
		{"Salesforce, logins of a user", refused, without, n * refusals / logins},
		{"Salesforce, logins of a user", refused, with, refusals / logins},
	}
}

// itemUnits returns the most read and write units that an app's item needs within a second: after a deployment, if the
// table is empty, and when the token is due.
func (m *scale) itemUnits(rate, apps float64) (reads, writes float64) {
	login := m.input("time of a login or an introspection")
	polls, at, wait := 0.0, 0.0, durationOf(m.T, "internal/vending", "minPoll").Seconds()
	for at+wait*3/4 < login { // on average: the wait is between half of it and all
		polls, at, wait = polls+1, at+wait*3/4, min(2*wait, durationOf(m.T, "internal/vending", "maxPoll").Seconds())
	}
	waiting := min(m.started(rate), rate*login) // until the first one has logged in
	return m.started(rate) + waiting*(1+polls/2), (2 + m.competing(rate, apps)) * m.input("size of an item")
}

const hoursPerMonth = 730 // as in docs/explanation/cost.md

func millionsPerMonth(rate float64) float64 { return rate * time.Hour.Seconds() * hoursPerMonth / 1e6 }

// cost returns the price of a million tokens without the table.
func (m *scale) cost(rate, apps float64) float64 { return m.sum(m.prices, rate, apps) }

// tableCost returns what the table adds to that.
func (m *scale) tableCost(rate, apps float64) float64 { return m.sum(m.shared, rate, apps) }

// sum evaluates the rows of docs/explanation/cost.md up to the total.
func (m *scale) sum(rows [][]string, rate, apps float64) (sum float64) {
	values := map[string][]float64{"A": {apps}, "I": {m.planned(rate)}, "R": {millionsPerMonth(rate)}}
	for _, row := range rows {
		if strings.HasPrefix(row[0], "**") {
			break
		}
		sum += evaluate(m.T, row[1], values, 0)
	}
	return sum / millionsPerMonth(rate)
}

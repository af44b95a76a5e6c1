package doctor_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/sftoken/sftoken/internal/doctor"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
)

// shareTokens makes doctor look at the token table.
func shareTokens(w *harness) { w.config.TokenTable = table }

var sharingSetups = []setup{
	{name: "a token table that does not exist", change: func(w *harness) { w.config.TokenTable = "other" },
		cause: "token-table", status: doctor.Warning, found: "account 111111111111 has no table other in us-east-1",
		fix: "output TokenTable"},
	{name: "a token table in another account", as: caller, change: func(w *harness) {
		shareTokens(w)
		w.dynamodb = localaws.NewDynamoDB(localaws.DynamoDBConfig{Table: "another", Key: "app"})
	}, cause: "token-table", status: doctor.Skipped, found: "has no table"},
	{name: "a token table that one may not describe", as: oncall, change: shareTokens,
		cause: "token-table", status: doctor.Skipped, found: "you may not call dynamodb:DescribeTable"},
	{name: "a table that is not a token table", change: func(w *harness) { shareTokens(w); w.addTable("id") },
		cause: "token-table", status: doctor.Warning, found: "not a token table", fix: "output TokenTable"},
	{name: "a token table that is being deleted", change: tableStatus("DELETING"),
		cause: "token-table", status: doctor.Warning, found: "status DELETING", fix: "logs in alone"},
	{name: "a token table whose key is disabled", change: tableStatus("INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
		cause: "token-table", status: doctor.Warning, found: "may not use the key", fix: "KeyArn"},
	{name: "a DynamoDB that is down", change: func(w *harness) {
		shareTokens(w)
		w.dynamodb.(*localaws.DynamoDB).InjectFault("", localaws.TableFault{Code: "InternalServerError", Status: 500}, 0)
	}, cause: "token-table", status: doctor.Skipped, found: "InternalServerError"},
	{name: "many logins", change: manyLogins, cause: "login-rate", status: doctor.Warning,
		found: " logins of this user in the last hour", fix: "deploy with SharedTokens on"},
	{name: "many logins with shared tokens", change: func(w *harness) { shareTokens(w); manyLogins(w) },
		cause: "login-rate", status: doctor.Warning, found: " logins of this user in the last hour", fix: "ManyLogins"},
	{name: "a login history that the user may not read", as: caller,
		change: func(w *harness) { w.userChange(func(u *sfoauthtest.UserOptions) { u.NoLoginHistory = true }) },
		cause:  "login-rate", status: doctor.Skipped, found: "see Login History in Setup"},
	{name: "a login history that cannot be read", as: caller, config: sfoauthtest.Config{RequestsPerDay: 2},
		change: func(*harness) {}, cause: "login-rate", status: doctor.Skipped, found: "REQUEST_LIMIT_EXCEEDED"},
}

// tableStatus makes DynamoDB report the token table's status, which the emulator does not have.
func tableStatus(status string) func(w *harness) {
	return func(w *harness) {
		shareTokens(w)
		tables := w.dynamodb
		w.dynamodb = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			emulated := httptest.NewRecorder()
			tables.ServeHTTP(emulated, r)
			var response map[string]map[string]any
			w.must(json.Unmarshal(emulated.Body.Bytes(), &response))
			response["Table"]["TableStatus"] = status
			w.must(json.NewEncoder(rw).Encode(response))
		})
	}
}

// manyLogins logs in as often as a deployment of many processes does.
func manyLogins(w *harness) {
	key, secret := w.app.Credentials()
	client := &sfoauth.Client{
		BaseURL: w.orgURL, ConsumerKey: key, ConsumerSecret: sfoauth.NewSecret(secret), AllowedHosts: w.config.Hosts,
	}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			for range 60 {
				if _, err := client.Token(w.Context()); err != nil {
					w.Error(err)
				}
			}
		})
	}
	group.Wait()
}

package agent_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestSequenceDiagram compares the diagram of docs/explanation/how-it-works.md with what the agent sends.
func TestSequenceDiagram(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		manyClients := func(query string) {
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() { h.get(t, "/v1/tokens/crm"+query) })
			}
			synctest.Wait()
			clients.Wait()
		}
		manyClients("")
		first := h.token(t, "")
		h.Org.RevokeAll()
		manyClients("?rejected=" + first.TokenID)

		var sent []string
		for _, rejected := range h.Requests() { // API Gateway has checked their method and signature
			query := strings.Replace("?rejected="+rejected, first.TokenID, "ID", 1)
			sent = append(sent, "A: GET /v1/tokens/crm"+strings.TrimSuffix(query, "?rejected=")+", signed")
		}
		diagram := mdtest.Read(t, "../../docs/explanation/how-it-works.md").Diagrams(t, "The agent")[0]
		if diff := cmp.Diff(diagram.Arrows("G", "A"), sent); diff != "" {
			t.Errorf("the diagram differs from what was sent (-diagram +sent):\n%s", diff)
		}
	})
}

// As docs/reference/agent.md says, a token stays in use for most of its life after the agent's role has lost its
// permission.
func TestRefusalWhileTokenIsValid(t *testing.T) {
	run(t, func(t *testing.T, h *harness) {
		left := h.token(t, "").ExpiresIn
		h.RespondWith(slices.Repeat([]func(http.ResponseWriter){func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"Message":"User: x is not authorized"}`)
		}}, 10000)...)
		for ; left > 31; left-- {
			time.Sleep(time.Second)
			h.token(t, "")
		}
		time.Sleep(2 * time.Second)
		if a := h.get(t, "/v1/tokens/crm"); a.status != http.StatusForbidden || a.Code != "access_denied" {
			t.Errorf("less than 30 s before the token expires: %d %s", a.status, a.Code)
		}
	})
}

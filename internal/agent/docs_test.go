package agent_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestSequenceDiagram compares the diagram of docs/how-it-works.md with what the agent sends.
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
		diagram := mdtest.Read(t, "../../docs/how-it-works.md").Diagrams(t, "The agent")[0]
		if diff := cmp.Diff(diagram.Arrows("G", "A"), sent); diff != "" {
			t.Errorf("the diagram differs from what was sent (-diagram +sent):\n%s", diff)
		}
	})
}

package rotation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// phrases are how docs/explanation/how-it-works.md calls Salesforce's endpoints.
var phrases = map[sfoauthtest.Endpoint]string{
	sfoauthtest.Token: "log in", sfoauthtest.REST: "call the REST API",
	sfoauthtest.PrimaryCredentials: "read the primary credentials", sfoauthtest.ListStaged: "read the staged credentials",
	sfoauthtest.Stage: "stage credentials", sfoauthtest.Promote: "promote the staged credentials",
	sfoauthtest.Delete: "delete the compromised credentials",
}

// TestDocumentedSequences compares the diagrams with what the function sends. Reads of secrets are not in them.
func TestDocumentedSequences(t *testing.T) {
	t.Parallel()
	page := mdtest.Read(t, "../../docs/explanation/how-it-works.md")
	reads := []string{"DescribeSecret", "GetSecretValue", "ListSecrets"}
	for heading, compromised := range map[string]bool{"A rotation": false, "An emergency": true} {
		t.Run(heading, func(t *testing.T) {
			run(t, options{}, func(t *testing.T, h *harness) {
				if compromised {
					h.compromise()
				}
				h.deliver()
				var got []string
				h.onOrg = func(c sfoauthtest.Call) {
					if c.Phase == sfoauthtest.Arrived {
						got = append(got, "F: "+phrases[c.Endpoint])
					}
				}
				h.onAWS = func(c localaws.Call) {
					if c.Phase == localaws.Arrived && !slices.Contains(reads, c.Operation) {
						got = append(got, "S: "+c.Operation)
					}
				}
				h.rotateAndDeliver()
				var want []string
				for _, arrow := range page.Diagrams(t, heading)[0].Arrows("R", "S", "F") {
					operation, _, _ := strings.Cut(arrow, " AWS") // the label is checked below
					want = append(want, operation)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("the diagram differs from what was sent (-diagram +sent):\n%s", diff)
				}
			})
		})
	}
}

// TestDocumentedLabels goes through the table of docs/reference/staging-labels.md, row by row.
func TestDocumentedLabels(t *testing.T) {
	tables := mdtest.Read(t, "../../docs/reference/staging-labels.md").TablesUnder(t, "Staging labels")
	rows := tables[len(tables)-1]
	run(t, options{}, func(t *testing.T, h *harness) {
		names := map[string]string{} // v1, v2 … by version ID
		next := 0
		look := func(event string) {
			t.Helper()
			s := h.describe()
			for _, label := range []string{"AWSCURRENT", "AWSPENDING"} { // the newest version always has one of them
				if id := s.VersionWithLabel(label); id != "" && names[id] == "" {
					names[id] = fmt.Sprintf("v%d", len(names)+1)
				}
			}
			byName := func(a, b string) int { return strings.Compare(names[a], names[b]) }
			var others []string
			for _, id := range slices.SortedFunc(maps.Keys(s.Labels), byName) {
				for _, label := range s.Labels[id] {
					if !strings.HasPrefix(label, "AWS") {
						others = append(others, names[id]+" `"+label+"`")
					}
				}
			}
			want := []string{event}
			for _, label := range []string{"AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"} {
				want = append(want, names[s.VersionWithLabel(label)])
			}
			want = append(want, strings.Join(others, ", "))
			if next >= len(rows) || !slices.Equal(rows[next], want) {
				t.Errorf("row %d of the table should be %q", next+1, want)
			}
			next++
		}
		h.onAWS = func(c localaws.Call) {
			if c.Phase == localaws.Done && c.Operation == "PutSecretValue" {
				look("createSecret")
			}
		}
		look("before")
		h.rotate()
		look("finishSecret")
		look("before the leak is known")
		h.compromiseAndDeliver()
		look("`rotate --compromised` begins")
		h.rotate()
		look("finishSecret")
		h.deliver()
		h.onAWS = nil
		h.storeWrong("AWSCURRENT")
		look("a person stores wrong credentials")
		h.deliver()
		look("the rotate function rolls back")
		if next != len(rows) {
			t.Errorf("%d rows of %d", next, len(rows))
		}
	})
}

package rotateapi

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

// phrases are how docs/how-it-works.md calls Salesforce's endpoints.
var phrases = map[sfoauthtest.Endpoint]string{
	sfoauthtest.Token: "log in", sfoauthtest.REST: "call the REST API", sfoauthtest.PrimaryCredentials: "read the primary credentials", sfoauthtest.ListStaged: "read the staged credentials",
	sfoauthtest.Stage: "stage credentials", sfoauthtest.Promote: "promote the staged credentials", sfoauthtest.Delete: "delete the compromised credentials",
}

// TestTheSequencesOfTheDocs compares the diagrams with what the function sends. Reads of secrets are not in them.
func TestTheSequencesOfTheDocs(t *testing.T) {
	page := mdtest.Read(t, "../../docs/how-it-works.md")
	for heading, prepare := range map[string]func(w *world){"A rotation": func(*world) {}, "An emergency": (*world).leak} {
		t.Run(heading, func(t *testing.T) {
			inBubble(t, options{}, func(t *testing.T, w *world) {
				prepare(w)
				w.deliver()
				var got []string
				w.watchOrg = func(c sfoauthtest.Call) {
					if c.Phase == sfoauthtest.Arrived {
						got = append(got, "F: "+phrases[c.Endpoint])
					}
				}
				w.watchAWS = func(c localaws.Call) {
					if c.Phase == localaws.Arrived && c.Operation != "DescribeSecret" && c.Operation != "GetSecretValue" && c.Operation != "ListSecrets" {
						got = append(got, "S: "+c.Operation)
					}
				}
				w.must(w.rotate(""))
				w.deliver()
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

// TestTheLabelsOfTheDocs lives through the table of docs/how-it-works.md, row by row.
func TestTheLabelsOfTheDocs(t *testing.T) {
	tables := mdtest.Read(t, "../../docs/how-it-works.md").TablesUnder(t, "Staging labels")
	rows := tables[len(tables)-1]
	inBubble(t, options{}, func(t *testing.T, w *world) {
		names := map[string]string{} // v1, v2 … by version id
		next := 0
		look := func(event string) {
			t.Helper()
			s := w.describe()
			for _, label := range []string{"AWSCURRENT", "AWSPENDING"} { // the newest version always has one of them
				if id := s.VersionWithLabel(label); id != "" && names[id] == "" {
					names[id] = fmt.Sprintf("v%d", len(names)+1)
				}
			}
			var others []string
			for _, id := range slices.SortedFunc(maps.Keys(s.Labels), func(a, b string) int { return strings.Compare(names[a], names[b]) }) {
				for _, label := range s.Labels[id] {
					if !strings.HasPrefix(label, "AWS") {
						others = append(others, names[id]+" `"+label+"`")
					}
				}
			}
			want := []string{event, names[s.VersionWithLabel("AWSCURRENT")], names[s.VersionWithLabel("AWSPENDING")], names[s.VersionWithLabel("AWSPREVIOUS")], strings.Join(others, ", ")}
			if next >= len(rows) || !slices.Equal(rows[next], want) {
				t.Errorf("row %d of the table should be %q", next+1, want)
			}
			next++
		}
		w.watchAWS = func(c localaws.Call) {
			if c.Phase == localaws.Done && c.Operation == "PutSecretValue" {
				look("createSecret")
			}
		}
		look("before")
		w.must(w.rotate(""))
		look("finishSecret")
		look("before the leak is known")
		w.leak()
		look("`rotate --compromised` begins")
		w.must(w.rotate(""))
		look("finishSecret")
		w.deliver()
		w.watchAWS = nil
		w.store("3MVG9wrong", "wrong", "AWSCURRENT")
		look("a person stores wrong credentials")
		w.deliver()
		look("the rotate function rolls back")
		if next != len(rows) {
			t.Errorf("%d rows of %d", next, len(rows))
		}
	})
}

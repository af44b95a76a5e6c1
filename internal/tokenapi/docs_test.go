package tokenapi

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/localaws"
	"github.com/sftoken/sftoken/internal/sim/simtest"
	"github.com/sftoken/sftoken/internal/vending"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestSequenceDiagrams compares the diagrams with what the function sends.
func TestSequenceDiagrams(t *testing.T) {
	t.Parallel()
	page := mdtest.Read(t, "../../docs/explanation/how-it-works.md")
	later := func(*harness) { time.Sleep(11 * time.Minute) }
	for _, c := range []struct {
		heading string
		cache   string // of the response
		first   bool   // nothing has been asked before
		prepare func(*harness)
	}{
		{"A cold vend", "miss", true, func(*harness) {}},
		{"A cached vend", "hit", false, func(*harness) {}},
		{"A token confirmed by introspection", "confirmed", false, later},
		{"An emergency", "miss", false, func(h *harness) { h.Compromise(); later(h) }},
	} {
		t.Run(c.heading, func(t *testing.T) {
			var calls callLog
			watch := func(call sfoauthtest.Call) {
				if call.Phase == sfoauthtest.Arrived {
					calls.add("F: " + phrases[call.Endpoint])
				}
			}
			run(t, options{org: sfoauthtest.Config{OnCall: watch}}, func(t *testing.T, h *harness) {
				h.handler.vendor.Secrets.Client = noting{h.handler.vendor.Secrets.Client, &calls}
				if !c.first {
					h.get()
				}
				c.prepare(h)
				calls = nil
				h.want(h.get(), 200, c.cache)
				diagrams := page.Diagrams(t, c.heading)
				want := diagrams[len(diagrams)-1].Arrows("T", "S", "F")
				if diff := cmp.Diff(want, []string(calls)); diff != "" {
					t.Errorf("the diagram differs from what was sent (-diagram +sent):\n%s", diff)
				}
			})
		})
	}
}

// TestSharedSequenceDiagrams compares the diagrams of shared tokens with what a process sends whose memory is empty.
func TestSharedSequenceDiagrams(t *testing.T) {
	t.Parallel()
	page := mdtest.Read(t, "../../docs/explanation/how-it-works.md")
	for _, c := range []struct {
		heading string
		status  int
		cache   string // of the response
		filled  bool   // another process has obtained a token
		send    func(*harness) result
	}{
		{"A cold vend with a filled table", 200, "hit", true, (*harness).get},
		{"A login under a lease", 200, "miss", false, (*harness).get},
		{"A shared revocation", 204, "", true, (*harness).revoke},
	} {
		t.Run(c.heading, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var calls callLog
				var mu sync.Mutex // the secret and the table are read at the same time
				note := func(call string) {
					mu.Lock()
					defer mu.Unlock()
					calls.add(call)
				}
				sim := simtest.New(t, simtest.Options{
					Org: sfoauthtest.Config{OnCall: func(call sfoauthtest.Call) {
						if call.Phase == sfoauthtest.Arrived {
							note("F: " + phrases[call.Endpoint])
						}
					}},
					TokenTable: true,
					DynamoDB: localaws.DynamoDBConfig{OnCall: func(call localaws.Call) {
						if call.Phase == localaws.Arrived {
							note("D: " + call.Operation + " crm")
						}
					}},
					AWS: localaws.SecretsManagerConfig{OnCall: func(call localaws.Call) {
						if call.Phase == localaws.Arrived {
							note("S: " + call.Operation + " AWSCURRENT")
						}
					}},
				})
				h := &harness{Harness: sim, log: &localaws.SyncBuffer{}}
				if c.filled {
					h.handler = h.newHandler(options{table: true})
					h.want(h.get(), 200, "miss")
				}
				calls = nil
				h.handler = h.newHandler(options{table: true})
				h.want(c.send(h), c.status, c.cache)
				var want []string
				for _, arrow := range page.Diagrams(t, c.heading)[0].Arrows("T", "S", "D", "F") {
					call, _, _ := strings.Cut(arrow, ",")
					want = append(want, call)
				}
				slices.Sort(want[:2]) // which of both reads is first does not matter
				slices.Sort(calls[:2])
				if diff := cmp.Diff(want, []string(calls)); diff != "" {
					t.Errorf("the diagram differs from what was sent (-diagram +sent):\n%s", diff)
				}
			})
		})
	}
}

// callLog is what the function has sent, one call after the other.
type callLog []string

func (l *callLog) add(call string) { *l = append(*l, call) }

// noting notes which version is read.
type noting struct {
	appsecret.Getter
	calls *callLog
}

func (n noting) GetSecretValue(
	ctx context.Context,
	in *secretsmanager.GetSecretValueInput,
	o ...func(*secretsmanager.Options),
) (*secretsmanager.GetSecretValueOutput, error) {
	n.calls.add("S: GetSecretValue " + aws.ToString(in.VersionStage))
	return n.Getter.GetSecretValue(ctx, in, o...)
}

var phrases = map[sfoauthtest.Endpoint]string{
	sfoauthtest.Token:      "log in",
	sfoauthtest.Introspect: "introspect",
	sfoauthtest.Revoke:     "revoke",
}

// TestErrorsAreDocumented holds the codes and their statuses against docs/reference/errors.md and docs/openapi.yaml.
func TestErrorsAreDocumented(t *testing.T) {
	t.Parallel()
	var want []string
	for _, folder := range []string{".", "../../internal/vending"} {
		for _, code := range codesIn(t, folder) {
			want = append(want, fmt.Sprintf("%d `%s`", status(vending.Code(code)), code))
		}
	}
	var got []string
	page := mdtest.Read(t, "../../docs/reference/errors.md")
	for _, row := range page.TablesUnder(t, "API errors")[0] {
		got = append(got, row[0]+" "+row[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/reference/errors.md (-code +docs):\n%s", diff)
	}

	openapi, err := os.ReadFile("../../docs/openapi.yaml")
	must(t, err)
	_, schema, _ := strings.Cut(string(openapi), "\n    Error:\n")
	enum := regexp.MustCompile(`enum: \[([^\]]*)\]`).FindStringSubmatch(schema)
	if enum == nil {
		t.Fatal("docs/openapi.yaml lists no error codes")
	}
	listed := strings.Split(enum[1], ", ")
	for _, line := range want {
		_, code, _ := strings.Cut(strings.Trim(line, "`"), "`")
		if !slices.Contains(listed, code) {
			t.Errorf("docs/openapi.yaml lacks the code %s", code)
		}
	}
	if len(listed) != len(want) {
		t.Errorf("docs/openapi.yaml lists %d codes of %d", len(listed), len(want))
	}
}

// codesIn returns the values of the constants of type Code that a package declares.
func codesIn(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	must(t, err)
	var codes []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || !isCode(spec.Type) {
				return true
			}
			for _, value := range spec.Values {
				if literal, ok := value.(*ast.BasicLit); ok {
					code, _ := strconv.Unquote(literal.Value)
					codes = append(codes, code)
				}
			}
			return true
		})
	}
	return codes
}

func isCode(expr ast.Expr) bool {
	switch typ := expr.(type) {
	case *ast.Ident:
		return typ.Name == "Code"
	case *ast.SelectorExpr:
		return typ.Sel.Name == "Code"
	default:
		return false
	}
}

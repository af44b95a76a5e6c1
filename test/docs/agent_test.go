package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sftoken/sftoken/test/docs/mdtest"
)

// TestAgentMetrics compares the metrics of docs/reference/agent.md and their labels with those of the code.
func TestAgentMetrics(t *testing.T) {
	var documented, defined []string
	for _, row := range page(t, "docs/reference/agent.md").TablesUnder(t, "Metrics")[0] {
		documented = append(documented, mdtest.Code(row[0])[0]+": "+strings.Join(mdtest.Code(row[1]), ","))
	}
	definition := regexp.MustCompile(
		`(?s)Name:\s+"(sftoken_\w+)".*?(?:\[\]string\{([^}]*)\}|prometheus\.Labels\{([^}]*)\}|\n\t\t\}\))`)
	for _, match := range definition.FindAllStringSubmatch(code(t, "internal/agent"), -1) {
		var labels []string
		for _, label := range regexp.MustCompile(`"(\w+)"`).FindAllStringSubmatch(match[2]+match[3], -1) {
			labels = append(labels, label[1])
		}
		defined = append(defined, match[1]+": "+strings.Join(labels, ","))
	}
	compareNames(t, "metrics of the agent", documented, defined)
}

// TestAgentRefusals compares the reasons of refused requests with the code.
func TestAgentRefusals(t *testing.T) {
	var documented, defined []string
	for _, row := range page(t, "docs/reference/agent.md").TablesUnder(t, "Requests and responses")[1] {
		documented = append(documented, mdtest.Code(row[0])...)
	}
	_, foreign, _ := strings.Cut(code(t, "internal/agent"), "\nfunc foreign(")
	foreign, _, _ = strings.Cut(foreign, "\n}\n")
	for _, match := range regexp.MustCompile(`return "(\w+)"`).FindAllStringSubmatch(foreign, -1) {
		defined = append(defined, match[1])
	}
	compareNames(t, "reasons", documented, defined)
}

// TestAgentLog compares the lines of the agent's log and their fields with the code.
func TestAgentLog(t *testing.T) {
	var documented, written []string
	for _, row := range page(t, "docs/reference/agent.md").TablesUnder(t, "Log")[0] {
		fields := slices.DeleteFunc(mdtest.Code(row[2]), func(text string) bool { return strings.Contains(text, "-") })
		slices.Sort(fields)
		documented = append(documented, mdtest.Code(row[0])[0]+": "+strings.Join(fields, ","))
	}
	files, err := filepath.Glob(root + "internal/agent/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, root+"cmd/sftoken/serve.go") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			written = append(written, logLines(declaration)...)
		}
	}
	compareNames(t, "log lines of the agent", documented, written)
}

// logLines returns the lines that a function logs, each with its fields. All slog attributes of a function are fields
// of its LogAttrs.
func logLines(function ast.Node) (lines []string) {
	attrs, message := []string{}, ""
	ast.Inspect(function, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if name, _ := attributeName(call); name != "" {
			attrs = append(attrs, name)
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		switch {
		case !ok:
		case method.Sel.Name == "LogAttrs":
			message = text(call.Args[2])
		case !slices.Contains([]string{"Info", "Warn", "Error"}, method.Sel.Name) || len(call.Args) == 0:
		case text(call.Args[0]) != "":
			var fields []string
			for i := 1; i < len(call.Args); i += 2 {
				fields = append(fields, text(call.Args[i]))
			}
			slices.Sort(fields)
			lines = append(lines, text(call.Args[0])+": "+strings.Join(fields, ","))
		}
		return true
	})
	if message != "" {
		slices.Sort(attrs)
		lines = append(lines, message+": "+strings.Join(attrs, ","))
	}
	return lines
}

// text returns the value of a string literal, or "".
func text(expression ast.Expr) string {
	basic, ok := expression.(*ast.BasicLit)
	if !ok {
		return ""
	}
	value, _ := strconv.Unquote(basic.Value)
	return value
}

// TestAgentErrors compares the agent's own errors with the code, and docs/openapi.yaml with both.
func TestAgentErrors(t *testing.T) {
	statuses := map[string]int{
		"BadRequest": http.StatusBadRequest, "Unauthorized": http.StatusUnauthorized, "Forbidden": http.StatusForbidden,
		"NotFound": http.StatusNotFound, "MethodNotAllowed": http.StatusMethodNotAllowed,
		"InternalServerError": http.StatusInternalServerError, "BadGateway": http.StatusBadGateway,
		"ServiceUnavailable": http.StatusServiceUnavailable,
	}
	var documented, defined, codes []string
	for _, row := range page(t, "docs/reference/errors.md").TablesUnder(t, "Agent errors")[0] {
		documented = append(documented, row[0]+" "+mdtest.Code(row[1])[0])
	}
	created := regexp.MustCompile(`http\.Status(\w+),[^"]*"([a-z_]+)"`)
	for _, match := range created.FindAllStringSubmatch(code(t, "internal/agent"), -1) {
		if match[1] == "OK" {
			continue
		}
		defined = append(defined, strconv.Itoa(statuses[match[1]])+" "+match[2])
		codes = append(codes, match[2])
	}
	compareNames(t, "errors of the agent", documented, defined)
	_, schema, _ := strings.Cut(read(t, "docs/openapi.yaml"), "\n    AgentError:\n")
	enum := regexp.MustCompile(`enum: \[([^\]]*)\]`).FindStringSubmatch(schema)
	if enum == nil {
		t.Fatal("docs/openapi.yaml lists no codes of the agent")
	}
	compareNames(t, "codes of the agent in docs/openapi.yaml", strings.Split(enum[1], ", "), codes)
}

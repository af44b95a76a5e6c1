package docs

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConstructorsHaveExamples checks that what a newcomer of a public package calls first has an example: each function
// New…, each other function that returns the package's own types, for which an example of the type will do, and each
// method that returns a pointer to one of its types with methods.
func TestConstructorsHaveExamples(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"pkg/sfoauth", "pkg/sfoauth/sfoauthtest", "pkg/sftoken"} {
		pkg := documentation(t, folder)
		checked := 0
		check := func(name string, examples ...[]*doc.Example) {
			checked++
			examples = slices.DeleteFunc(examples, func(e []*doc.Example) bool { return len(e) == 0 })
			if len(examples) == 0 {
				t.Errorf("%s: %s has no example", folder, name)
			}
		}
		for _, f := range pkg.Funcs {
			if strings.HasPrefix(f.Name, "New") {
				check(f.Name, f.Examples)
			}
		}
		for _, typ := range pkg.Types {
			for _, f := range typ.Funcs {
				if strings.HasPrefix(f.Name, "New") {
					check(f.Name, f.Examples)
				} else {
					check(f.Name, f.Examples, typ.Examples)
				}
			}
			for _, method := range typ.Methods {
				made := pointerResult(method)
				if slices.ContainsFunc(pkg.Types, func(t *doc.Type) bool { return t.Name == made && len(t.Methods) > 0 }) {
					check(typ.Name+"."+method.Name, method.Examples)
				}
			}
		}
		if checked < 3 {
			t.Errorf("%s: found only %d constructors", folder, checked)
		}
	}
}

// documentation returns what `go doc` knows of a package, with the examples.
func documentation(t *testing.T, folder string) *doc.Package {
	t.Helper()
	paths, err := filepath.Glob(root + folder + "/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v", folder, err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(set, files, "github.com/sftoken/sftoken/"+folder)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// pointerResult returns T if the method's first result is a *T.
func pointerResult(method *doc.Func) string {
	if results := method.Decl.Type.Results; results != nil {
		if star, ok := results.List[0].Type.(*ast.StarExpr); ok {
			if ident, ok := star.X.(*ast.Ident); ok {
				return ident.Name
			}
		}
	}
	return ""
}

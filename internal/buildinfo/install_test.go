package buildinfo_test

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	module  = "github.com/sftoken/sftoken"
	release = "v0.1.0"
)

// TestInstall installs the command-line tool from a module proxy, as users do, and asks it for its version. The proxy
// consists of this tree and of the modules that the go command has downloaded for it. So the test needs no network.
func TestInstall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it unpacks and compiles all modules again, which takes half a minute")
	}
	downloads := filepath.Join(run(t, nil, "go", "env", "GOMODCACHE"), "cache", "download")
	if _, err := os.Stat(downloads); err != nil {
		t.Skipf("the modules are not in the module cache: %v", err)
	}
	proxy, modules, bin := t.TempDir(), t.TempDir(), t.TempDir()
	publish(t, proxy)
	env := []string{
		"GOPROXY=file://" + filepath.ToSlash(proxy) + ",file://" + filepath.ToSlash(downloads),
		"GOMODCACHE=" + modules, "GOBIN=" + bin, "GOSUMDB=off", "GONOPROXY=", "GOPRIVATE=", "GOWORK=off",
		// With -trimpath and without cgo, what `make run` has compiled is used again.
		"CGO_ENABLED=0", "GOFLAGS=-trimpath -modcacherw",
	}
	run(t, env, "go", "install", module+"/cmd/sftoken@"+release)
	if got := run(t, nil, filepath.Join(bin, "sftoken"), "version"); got != release {
		t.Errorf("version %q, want %q", got, release)
	}
}

// publish adds this module to a proxy's directory, with the files that the tool is made of. Source: Go Modules
// Reference, "GOPROXY protocol".
func publish(t *testing.T, proxy string) {
	t.Helper()
	root := filepath.Join("..", "..")
	files := run(t, nil, "go", "list", "-deps", "-f",
		"{{if .Module}}{{if .Module.Main}}{{$p := .ImportPath}}{{range .GoFiles}}{{$p}}/{{.}}\n{{end}}"+
			"{{range .EmbedFiles}}{{$p}}/{{.}}\n{{end}}{{end}}{{end}}", module+"/cmd/sftoken")
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, file := range append(strings.Fields(files), module+"/go.mod") {
		path := strings.TrimPrefix(file, module+"/")
		w, err := z.Create(module + "@" + release + "/" + path)
		if err == nil {
			_, err = w.Write(read(t, filepath.Join(root, filepath.FromSlash(path))))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	versions := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(versions, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"list":            []byte(release + "\n"),
		release + ".info": []byte(`{"Version":"` + release + `"}`),
		release + ".mod":  read(t, filepath.Join(root, "go.mod")),
		release + ".zip":  archive.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(versions, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// run runs a command and returns what it has written to standard output.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

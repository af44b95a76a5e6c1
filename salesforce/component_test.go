package salesforce

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// component is one metadata file.
type component struct {
	path, folder, suffix, name string
	space, root                string
	fields                     map[string][]string // by path below the root, as in userPermissions/name
}

type project struct {
	PackageDirectories []struct{ Path string }
	SourceAPIVersion   string
	Replacements       []struct{ Glob, StringToReplace, ReplaceWithEnv string }
}

// components reads every metadata file of the project.
func components(t *testing.T) []component {
	t.Helper()
	var all []component
	for _, dir := range sfdx(t).PackageDirectories {
		err := filepath.WalkDir(dir.Path, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, ok := strings.CutSuffix(entry.Name(), "-meta.xml")
			name, suffix, _ := strings.Cut(name, ".")
			if !ok {
				t.Errorf("%s is not a metadata file", path)
				return nil
			}
			folder, fields := filepath.Base(filepath.Dir(path)), map[string][]string{}
			c := component{path: path, folder: folder, suffix: suffix, name: name, fields: fields}
			read(t, path, c.parse)
			all = append(all, c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) == 0 {
		t.Fatal("no metadata")
	}
	return all
}

// parse reads the whole document, so that one that is not well-formed is an error.
func (c *component) parse(data []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(data))
	var path []string
	var text string
	leaf := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch token := token.(type) {
		case xml.StartElement:
			if len(path) == 0 {
				c.space, c.root = token.Name.Space, token.Name.Local
			}
			path, text, leaf = append(path, token.Name.Local), "", true
		case xml.CharData:
			text += string(token)
		case xml.EndElement:
			if leaf {
				field := strings.Join(path[1:], "/")
				c.fields[field] = append(c.fields[field], strings.TrimSpace(text))
			}
			path, leaf = path[:len(path)-1], false
		}
	}
}

func sfdx(t *testing.T) project {
	t.Helper()
	var project project
	read(t, "sfdx-project.json", func(data []byte) error { return json.Unmarshal(data, &project) })
	return project
}

func read(t *testing.T, path string, parse func([]byte) error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = parse(data)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// union returns the keys of both.
func union[V, W any](a map[string]V, b map[string]W) map[string]bool {
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	return keys
}

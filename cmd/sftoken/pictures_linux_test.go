package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sftoken/sftoken/internal/sim/stack"
	"github.com/sftoken/sftoken/pkg/sfoauth/sfoauthtest"
	"github.com/sftoken/sftoken/test/docs/svgtest"
)

const pictures = "../../docs/images/"

// TestDemoPicture compares the recording of `sftoken demo` with the demo's golden file. It records a missing picture:
// see `make pictures`.
func TestDemoPicture(t *testing.T) {
	record(t, "demo.svg", svgtest.Terminal{
		Title:   "A terminal in which sftoken demo runs and prints each of its steps",
		Command: "sftoken demo",
	}, func() (string, int) { return newPTY(t, 80).run(t, "sftoken local\r\n", "demo") }, 0)
	command, output := svgtest.Output(t, pictures+"demo.svg")
	golden, err := os.ReadFile("testdata/demo.golden")
	must(t, err)
	if diff := cmp.Diff(string(golden), maskDemo(unwrap(output))); diff != "" || command != "sftoken demo" {
		t.Errorf("docs/images/demo.svg is old: run make pictures (-printed +picture):\n%s", diff)
	}
}

// TestDoctorPicture does the same for `sftoken doctor`, in an org where the app's run-as user is missing.
func TestDoctorPicture(t *testing.T) {
	record(t, "doctor.svg", svgtest.Terminal{
		Title:   "A terminal in which sftoken doctor crm finds that the app has no run-as user, and suggests a fix",
		Command: "sftoken doctor crm", AtOnce: true,
	}, func() (string, int) {
		s := startStack(t, stack.Config{ // where `sftoken local` listens
			ListenAPI: "127.0.0.1:8080", ListenAWS: "127.0.0.1:4566", ListenOrg: "127.0.0.1:8443", Log: io.Discard,
		})
		s.useKey(t, ownerKey)
		must(t, s.WaitIdle(t.Context()))
		s.App.Change(func(o *sfoauthtest.AppOptions) { o.NoRunAsUser = true })
		return newPTY(t, 80).run(t, "Salesforce.\r\n", "doctor", "crm")
	}, exitFailed)
	command, output := svgtest.Output(t, pictures+"doctor.svg")
	golden, err := os.ReadFile("testdata/doctor/no-run-as-user.txt")
	must(t, err)
	oneLine := func(text string) string { // whose breaks depend on masked numbers
		return maskReport(regexp.MustCompile(`\n {8,}`).ReplaceAllString(text, " "))
	}
	if diff := cmp.Diff(oneLine(string(golden)), oneLine(output)); diff != "" || command != "sftoken doctor crm" {
		t.Errorf("docs/images/doctor.svg is old: run make pictures (-printed +picture):\n%s", diff)
	}
}

// record draws what run returns, where the picture is missing and UPDATE_GOLDEN is set.
func record(t *testing.T, name string, d svgtest.Terminal, run func() (shown string, code int), want int) {
	t.Helper()
	if _, err := os.Stat(pictures + name); !errors.Is(err, fs.ErrNotExist) || os.Getenv("UPDATE_GOLDEN") == "" {
		return
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	d.Columns, d.Rows = 80, 26
	shown, code := run()
	if code != want {
		t.Fatalf("exit %d: %s", code, shown)
	}
	d.Output = strings.ReplaceAll(shown, "\r\n", "\n")
	svg, err := d.SVG()
	must(t, err)
	must(t, os.WriteFile(pictures+name, []byte(svg), 0o600))
}

// Package buildinfo knows which version this program is, from what the go command has written into it. No file and no
// linker flag repeats it.
package buildinfo

import "runtime/debug"

// devel is the version of a build that the go command knows no version of: of a source archive, or by `go run`.
const devel = "devel"

// Version returns the version of this program, which is never empty. It is v0.1.0 if the program was built from that
// tag or with `go install …@v0.1.0`; between tags, a pseudo-version like v0.1.1-0.20260102030405-0123456789ab. The
// suffix +dirty means that files had been changed. Otherwise it is devel. Source: Go 1.24 Release Notes, "Go command".
func Version() string { return version(debug.ReadBuildInfo()) }

// Revision returns the full ID of the commit that this program was built from, or "" if it is unknown, as after
// `go install`.
func Revision() string { return revision(debug.ReadBuildInfo()) }

func version(info *debug.BuildInfo, ok bool) string {
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	if id := revision(info, ok); id != "" {
		return devel + "-" + id[:min(len(id), 12)]
	}
	return devel
}

func revision(info *debug.BuildInfo, ok bool) string {
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

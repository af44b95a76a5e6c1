package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	stamped := []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: commit}}
	devel := debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}
	commitOnly, tag := devel, debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}, Settings: stamped}
	commitOnly.Settings = stamped
	for name, test := range map[string]struct {
		info           *debug.BuildInfo
		want, revision string
	}{
		"tag":                  {&tag, "v0.1.0", commit},
		"installed":            {&debug.BuildInfo{Main: debug.Module{Version: "v0.1.0"}}, "v0.1.0", ""},
		"go run":               {&devel, "devel", ""},
		"no version":           {&debug.BuildInfo{}, "devel", ""},
		"commit, no version":   {&commitOnly, "devel-0123456789ab", commit},
		"no build information": {nil, "devel", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := version(test.info, test.info != nil); got != test.want {
				t.Errorf("version %q, want %q", got, test.want)
			}
			if got := revision(test.info, test.info != nil); got != test.revision {
				t.Errorf("revision %q, want %q", got, test.revision)
			}
		})
	}
}

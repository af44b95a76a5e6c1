package docs

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestWorkflowTargets checks that the CI workflow runs the commands of .ci/run, which a submission must pass.
func TestWorkflowTargets(t *testing.T) {
	withoutText := regexp.MustCompile(`(?m)"[^"]*"|^#.*`).ReplaceAllString(read(t, ".ci/run"), "")
	var steps []string
	for _, match := range regexp.MustCompile(`\bmake ([a-z][a-z0-9-]*)`).FindAllStringSubmatch(withoutText, -1) {
		steps = append(steps, match[1])
	}
	workflow := read(t, ".github/workflows/ci.yml")
	_, list, _ := strings.Cut(workflow, "        target:\n")
	list = regexp.MustCompile(`^(?: +- .*\n)+`).FindString(list)
	var jobs []string
	for _, match := range regexp.MustCompile(`- (\S+)\n`).FindAllStringSubmatch(list, -1) {
		jobs = append(jobs, match[1])
	}
	slices.Sort(steps)
	slices.Sort(jobs)
	if len(jobs) < 12 || !slices.Equal(steps, jobs) {
		t.Errorf(".ci/run has the steps\n%q\n.github/workflows/ci.yml\n%q", steps, jobs)
	}
	fuzzTime := regexp.MustCompile(`FUZZTIME[=:] *(\w+)`)
	local, inWorkflow := fuzzTime.FindStringSubmatch(withoutText), fuzzTime.FindStringSubmatch(workflow)
	if local == nil || inWorkflow == nil || local[1] != inWorkflow[1] {
		t.Errorf(".ci/run has %q, .github/workflows/ci.yml %q", local, inWorkflow)
	}
}

// TestGoVersions checks that the workflows and the images use the Go release of go.mod.
func TestGoVersions(t *testing.T) {
	release := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	files := []string{".devcontainer/Dockerfile", "examples/agent/Dockerfile"}
	workflows, err := filepath.Glob(root + ".github/workflows/*.yml")
	if err != nil || len(workflows) < 3 {
		t.Fatalf("found %d workflows: %v", len(workflows), err)
	}
	for _, workflow := range workflows {
		files = append(files, strings.TrimPrefix(workflow, root))
	}
	found := 0
	named := regexp.MustCompile(`golang:([\d.]+)|go-version: (\S+)`)
	for _, file := range files {
		for _, match := range named.FindAllStringSubmatch(read(t, file), -1) {
			found++
			if version := match[1] + match[2]; !strings.HasPrefix(version, release+".") {
				t.Errorf("%s has Go %s, go.mod has %s", file, version, release)
			}
		}
	}
	if found < 5 {
		t.Errorf("found only %d versions", found)
	}
}

// TestDependabotTools checks that Dependabot updates each tool. It takes the module of a tool line for an indirect one,
// and updates those only if they are named. Source: github.com/dependabot/dependabot-core/issues/12050.
func TestDependabotTools(t *testing.T) {
	modules, err := filepath.Glob(root + "tools/*/go.mod")
	if err != nil || len(modules) < 4 {
		t.Fatalf("found %d modules of tools: %v", len(modules), err)
	}
	configuration := read(t, ".github/dependabot.yml")
	allowed := regexp.MustCompile(`- dependency-name: (\S+)`).FindAllStringSubmatch(configuration, -1)
	tool := regexp.MustCompile(`(?m)^(?:tool |\t)([a-z]\S+)$`)
	for _, module := range modules {
		module = strings.TrimPrefix(module, root)
		if !regexp.MustCompile(regexp.QuoteMeta("/"+filepath.Dir(module)) + `[,\]]`).MatchString(configuration) {
			t.Errorf("dependabot.yml does not name the folder of %s", module)
		}
		for _, match := range tool.FindAllStringSubmatch(read(t, module), -1) {
			if !slices.ContainsFunc(allowed, func(name []string) bool { return strings.HasPrefix(match[1], name[1]) }) {
				t.Errorf("dependabot.yml does not allow an update of %s, a tool of %s", match[1], module)
			}
		}
	}
}

// TestReleaseRights checks that no job of the release both runs code of the repository, or of what it imports, and has
// the right to write or sign; and that what has such a right waits for the reviewers of the environment.
func TestReleaseRights(t *testing.T) {
	_, jobs, _ := strings.Cut(read(t, ".github/workflows/release.yml"), "\npermissions: {}\n")
	starts := regexp.MustCompile(`(?m)^  [a-z]+:$`).FindAllStringIndex(jobs, -1)
	builds, writes := 0, 0
	for i, start := range starts {
		end := len(jobs)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		name, job := strings.Trim(jobs[start[0]:start[1]], " :"), jobs[start[1]:end]
		checksOut := strings.Contains(job, "actions/checkout@")
		if checksOut {
			builds++
		}
		if !regexp.MustCompile(`(?m): (?:write|write-all)\b`).MatchString(job) {
			continue
		}
		writes++
		waits := regexp.MustCompile(`(?m)^    (?:environment: release|needs: \[.*\bsign\b.*\])`).MatchString(job)
		if checksOut || !waits {
			t.Errorf("the job %s may write: it checks out %t, waits for reviewers %t", name, checksOut, waits)
		}
	}
	if builds != 3 || writes != 3 {
		t.Errorf("found %d jobs that check out, %d that may write", builds, writes)
	}
}

// TestActionsArePinned checks that every action is given by its commit, which no one can move.
func TestActionsArePinned(t *testing.T) {
	workflows, err := filepath.Glob(root + ".github/workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, workflow := range workflows {
		text := read(t, strings.TrimPrefix(workflow, root))
		for _, match := range regexp.MustCompile(`\buses: *(.*)`).FindAllStringSubmatch(text, -1) {
			found++
			if !regexp.MustCompile(`^[\w/-]+@[0-9a-f]{40} # v\d`).MatchString(match[1]) {
				t.Errorf("%s uses %s", workflow, match[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d actions", found)
	}
}

// TestDependabotFolders checks that Dependabot updates every folder with a file of dependencies, and waits before it
// proposes a new release.
func TestDependabotFolders(t *testing.T) {
	ecosystems := map[string]string{
		"go.mod": "gomod", "package.json": "npm", "requirements.txt": "pip", "Dockerfile": "docker",
	}
	var want []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains([]string{".git", ".aws-sam", "node_modules", "cdk.out"}, name) ||
			strings.HasPrefix(name, ".venv")):
			return fs.SkipDir
		case ecosystems[name] != "":
			want = append(want, ecosystems[name]+" "+strings.TrimSuffix("/"+strings.TrimPrefix(path, root), name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var updated []string
	for _, update := range strings.Split(read(t, ".github/dependabot.yml"), "package-ecosystem: ")[1:] {
		ecosystem, _, _ := strings.Cut(update, "\n")
		if !regexp.MustCompile(`\n    cooldown:.*\n      default-days: [7-9]\n`).MatchString(update) {
			t.Errorf("%s: Dependabot does not wait a week", ecosystem)
		}
		if list := regexp.MustCompile(`directories: \[(.*)\]`).FindStringSubmatch(update); list != nil {
			for folder := range strings.SplitSeq(list[1], ", ") {
				updated = append(updated, ecosystem+" "+strings.TrimSuffix(folder, "/")+"/")
			}
		}
	}
	compareNames(t, "the folders of .github/dependabot.yml", updated, want)
}

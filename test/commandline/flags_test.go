// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"keelson.io/keelson/test/harness"
)

// flagOf is one flag as a help shows it.
type flagOf struct{ def, help string }

var helpLine = regexp.MustCompile(`(?m)^  --([a-z0-9-]+)(?: '?(.*?)'?)?\n    (.*)$`)

// help asks a server for its flags.
func help(t *testing.T, b harness.Binary) map[string]flagOf {
	t.Helper()
	command := exec.Command(harness.Build(t, b), "--help")
	command.Env = harness.CleanEnviron()
	text, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]flagOf{}
	for _, m := range helpLine.FindAllStringSubmatch(string(text), -1) {
		found[m[1]] = flagOf{m[2], m[3]}
	}
	if len(found) < 50 {
		t.Fatalf("%s --help shows %d flags:\n%s", b, len(found), text)
	}
	return found
}

// etcdFlags are etcd's with their defaults: those that its configuration declares,
// and those that only the help of its program shows.
func etcdFlags(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	embed.NewConfig().AddFlags(fs)
	fs.VisitAll(func(f *flag.Flag) { found[f.Name] = f.DefValue })
	for name, f := range help(t, harness.EtcdServer) {
		if _, ok := found[name]; !ok {
			found[name] = f.def
		}
	}
	for _, name := range onlyInHelp {
		delete(found, name)
	}
	found["config-file"], found["version"] = "", "false" // which the help shows above its list
	return found
}

// onlyInHelp are flags that etcd's help shows and etcd refuses.
var onlyInHelp = []string{"discovery", "discovery-proxy"}

// ofThePast are flags that etcd takes and ignores, and shows nowhere.
var ofThePast = []string{
	"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
	"max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv",
	"test.coverprofile", "test.outputdir",
}

// keelsonsOwn are flags that etcd does not have.
var keelsonsOwn = []string{"max-range-bytes-in-flight", "quota-as-etcd"}

// otherDefaults are those that are not etcd's.
var otherDefaults = map[string]string{
	"data-dir":        "an etcd must not find keelson's data where it looks for its own, nor keelson an etcd's",
	"initial-cluster": "the help shows how it follows from the name; etcd's shows what follows for the default name",
	"v2-deprecation":  "has no value as long as none is given; etcd's help shows what it then does",
}

// TestFlagsAreEtcds wants each of etcd's flags in keelson, with etcd's default.
func TestFlagsAreEtcds(t *testing.T) {
	theirs, ours := etcdFlags(t), help(t, harness.KeelsonServer)
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		got, ok := ours[name]
		if !ok {
			t.Errorf("etcd has --%s, keelson has not", name)
			continue
		}
		if _, differs := otherDefaults[name]; differs != !sameValue(got.def, theirs[name]) {
			t.Errorf("--%s is %q by default, in etcd %q; it is expected to differ: %v", name, got.def, theirs[name], differs)
		}
	}
	for name := range ours {
		if _, ok := theirs[name]; !ok && !slices.Contains(keelsonsOwn, name) {
			t.Errorf("keelson has --%s, etcd has not", name)
		}
	}
}

func sameValue(a, b string) bool {
	if a == b {
		return true
	}
	da, errA := time.ParseDuration(a)
	db, errB := time.ParseDuration(b)
	return errA == nil && errB == nil && da == db
}

// TestFlagsNobodyShows wants both servers to take the flags of the past, and to
// refuse those that etcd only shows. A flag that neither has ends both at once.
func TestFlagsNobodyShows(t *testing.T) {
	var args []string
	for _, name := range ofThePast {
		args = append(args, "--"+name)
	}
	for _, b := range []harness.Binary{harness.EtcdServer, harness.KeelsonServer} {
		for _, name := range append([]string{"no-such-flag"}, onlyInHelp...) {
			command := exec.Command(harness.Build(t, b), append(slices.Clone(args), "--"+name)...)
			command.Env, command.Dir = harness.CleanEnviron(), t.TempDir()
			out, err := command.CombinedOutput()
			if err == nil || strings.Count(string(out), "not defined") != 1 || !strings.Contains(string(out), "flag provided but not defined: -"+name+"\n") {
				t.Errorf("%s --%s: %v\n%s", b, name, err, out)
			}
		}
	}
}

// states are the headings of the list in docs/compatibility.md and what the help
// says of the flags below them.
var states = []struct{ heading, says string }{
	{"### Flags served", ""},
	{"### Flags accepted with a warning", "Has no meaning in keelson"},
}

var flagName = regexp.MustCompile("`--([a-z0-9.-]+)`")

// TestDocsNameEveryFlag wants docs/compatibility.md to give each flag the state
// that it has.
func TestDocsNameEveryFlag(t *testing.T) {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	ours := help(t, harness.KeelsonServer)
	for _, name := range ofThePast {
		ours[name] = flagOf{help: states[1].says}
	}
	documented := map[string]bool{}
	for _, state := range states {
		_, list, ok := strings.Cut(string(text), state.heading+"\n")
		if !ok {
			t.Errorf("docs/compatibility.md has no heading %q", state.heading)
		}
		list, _, _ = strings.Cut(list, "\n#")
		for item := range strings.SplitSeq(list, "\n- ") {
			names, _, _ := strings.Cut(item, ": ") // what follows may speak of other flags
			for _, m := range flagName.FindAllStringSubmatch(names, -1) {
				f, ok := ours[m[1]]
				if !ok || documented[m[1]] {
					t.Errorf("--%s stands in docs/compatibility.md twice, or is no flag", m[1])
				}
				documented[m[1]] = true
				if says := stateOf(f.help); says != state.says {
					t.Errorf("--%s stands below %q; the help says %q", m[1], state.heading, says)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if !documented[name] {
			t.Errorf("docs/compatibility.md gives --%s no state", name)
		}
	}
}

// stateOf is what a flag's help says of its state.
func stateOf(help string) string {
	for _, state := range states[1:] {
		if strings.Contains(help, state.says) {
			return state.says
		}
	}
	return ""
}

// TestVersion wants etcd's lines below keelson's own, and etcd's version to be the one that is kept.
func TestVersion(t *testing.T) {
	lines := func(b harness.Binary) []string {
		command := exec.Command(harness.Build(t, b), "--version")
		command.Env = append(harness.CleanEnviron(), "ETCD_NAME=x")
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	theirs, ours := lines(harness.EtcdServer), lines(harness.KeelsonServer)
	if len(ours) != len(theirs)+1 || !strings.HasPrefix(ours[0], "keelson Version: ") {
		t.Fatalf("keelson prints %q, etcd %q", ours, theirs)
	}
	for i, line := range theirs {
		if strings.HasPrefix(line, "Git SHA: ") {
			line = "Git SHA: "
		}
		if !strings.HasPrefix(ours[i+1], line) {
			t.Errorf("keelson prints %q, etcd %q", ours[i+1], line)
		}
	}
}

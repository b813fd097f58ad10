// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var (
	seedFlag    = flag.Uint64("seed", 1, "the first seed")
	seedsFlag   = flag.Uint64("seeds", 300, "how many seeds; one is run with a report, more by processes beside one another")
	nodesFlag   = flag.Int("nodes", 0, "how many nodes found the cluster; 0: the seed decides")
	traceFlag   = flag.Bool("trace", false, "print every event")
	machineFlag = flag.String("machine", "any", "what entries are applied to: memory, sqlite, or any (the seed decides)")
	serialFlag  = flag.Bool("serial", false, "run the seeds in this process")
)

// chunkSeeds is how many seeds one process runs.
const chunkSeeds = 25

// scratch returns a folder for a world's files, in memory if the system has that.
func scratch(t testing.TB) string {
	t.Helper()
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "sim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "world")
}

// again is the command that runs one seed again.
func again(seed uint64) string {
	command := fmt.Sprintf("go test ./test/sim -run TestSeeds -count=1 -seeds 1 -seed %d", seed)
	if *nodesFlag != 0 {
		command += fmt.Sprintf(" -nodes %d", *nodesFlag)
	}
	if *machineFlag != "any" {
		command += " -machine " + *machineFlag
	}
	return command
}

// machineKinds are the values of -machine.
var machineKinds = map[string]MachineKind{"any": MachineAny, "memory": MachineMemory, "sqlite": MachineSQLite}

// TestSeeds lets one world after the other live. A failing seed prints what led to it and how to see it again.
func TestSeeds(t *testing.T) {
	if *serialFlag || *seedsFlag == 1 {
		runSeeds(t, *seedFlag, *seedsFlag)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	chunks := make(chan uint64)
	go func() {
		defer close(chunks)
		for first := *seedFlag; first < *seedFlag+*seedsFlag; first += chunkSeeds {
			chunks <- first
		}
	}()
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for first := range chunks {
				n := min(chunkSeeds, *seedFlag+*seedsFlag-first)
				child := exec.Command(self, "-test.run=^TestSeeds$", "-test.timeout=20m", "-serial",
					fmt.Sprint("-seed=", first), fmt.Sprint("-seeds=", n), fmt.Sprint("-nodes=", *nodesFlag), "-machine="+*machineFlag)
				if out, err := child.CombinedOutput(); err != nil {
					t.Errorf("seeds %d to %d: %v\n%s", first, first+n-1, err, out)
				}
			}
		})
	}
	workers.Wait()
}

func runSeeds(t *testing.T, first, count uint64) {
	dir := scratch(t)
	machine, ok := machineKinds[*machineFlag]
	if !ok {
		t.Fatalf("-machine %q is unknown", *machineFlag)
	}
	for seed := first; seed < first+count; seed++ {
		o := Options{Seed: seed, Nodes: *nodesFlag, Machine: machine, Dir: dir}
		if *traceFlag {
			o.Print = func(line string) { fmt.Fprintln(os.Stderr, line) }
		}
		r := Run(o)
		if r.Err != nil {
			t.Errorf("the last events:\n%s\n%s\n%v\nto see it again: %s", r.Tail, r.Plan, r.Err, again(seed))
			continue
		}
		if count == 1 {
			t.Logf("%s: %d entries, %d writes acknowledged, %d events, hash %x", r.Plan, r.Entries, r.Acknowledged, r.Events, r.Hash)
		}
	}
}

// A seed decides everything: run twice, it gives the same trace.
func TestReproducible(t *testing.T) {
	dir := scratch(t)
	worlds := []Options{{Seed: 1}, {Seed: 2}, {Seed: 3, Nodes: 5}, {Seed: 4, Log: LogFiles}, {Seed: 5, Log: LogFiles}, {Seed: 6, Machine: MachineSQLite}, {Seed: 7, Log: LogFiles, Machine: MachineSQLite}}
	hashes := make(map[uint64]bool)
	for _, o := range worlds {
		o.Dir = dir
		first, second := Run(o), Run(o)
		if first.Hash != second.Hash || first.Events != second.Events {
			t.Errorf("%s: hash %x after %d events, then %x after %d", first.Plan, first.Hash, first.Events, second.Hash, second.Events)
		}
		if first.Events < 100 {
			t.Errorf("%s: only %d events", first.Plan, first.Events)
		}
		hashes[first.Hash] = true
	}
	if len(hashes) != len(worlds) {
		t.Errorf("%d worlds have %d traces", len(worlds), len(hashes))
	}
}

// plant runs worlds with a bug until a checker catches it, which must be one of those wanted. The world's other parts are
// the simulated ones, which the bugs are built into.
func plant(t *testing.T, o Options, within uint64, want ...string) {
	o.Log, o.Machine, o.Dir = LogSimulated, MachineMemory, scratch(t)
	for o.Seed = 1; o.Seed <= within; o.Seed++ {
		r := Run(o)
		if r.Err == nil {
			continue
		}
		for _, w := range want {
			if strings.Contains(r.Err.Error(), w) {
				t.Logf("seed %d: %v", o.Seed, r.Err)
				return
			}
		}
		t.Fatalf("seed %d fails otherwise than by %q: %v\n%s", o.Seed, want, r.Err, r.Tail)
	}
	t.Errorf("not caught within %d seeds", within)
}

// Every planted bug is caught, by the checker of the invariant that it breaks.
func TestPlantedBugs(t *testing.T) {
	cases := []struct {
		bug    Bug
		within uint64   // seeds
		want   []string // one of them is in the failure
	}{
		{BugAckBeforeSync, 5, []string{"invariant 1"}},
		{BugStaleRead, 5, []string{"invariant 6"}},
		{BugLostEvent, 5, []string{"invariant 5"}},
		{BugRepeatedEvent, 5, []string{"invariant 5"}},
		{BugSplitRevision, 5, []string{"invariant 5"}},
		{BugNodeDependent, 5, []string{"invariant 2"}},
		{BugMapOrder, 5, []string{"invariant 2"}},
		{BugUnstamped, 400, []string{"exactly once"}},
		{BugNoRecord, 50, []string{"invariant 1", "invariant 3"}},
		{BugLostVote, 10, []string{"invariant 1"}},
		{BugUnsyncedVote, 1000, []string{"invariant 1"}},
		{BugEarlyRelease, 10, []string{"invariant 3"}},
		{BugForgottenApplied, 10, []string{"invariant 3"}},
	}
	if len(cases) != int(bugEnd)-1 {
		t.Fatalf("%d of %d bugs have a case", len(cases), int(bugEnd)-1)
	}
	for _, c := range cases {
		t.Run(c.bug.String(), func(t *testing.T) { plant(t, Options{Bug: c.bug}, c.within, c.want...) })
	}
}

// Bugs that the checkers see on the disks are also seen by what they lead to. A lost vote is not among them: that a
// member votes, loses power and is asked again in the same term is too rare.
func TestPlantedBugsShowThemselves(t *testing.T) {
	cases := []struct {
		bug    Bug
		within uint64
		want   []string
	}{
		// A leader may notice first.
		{BugAckBeforeSync, 50, []string{"invariant 1", "invariant 2", "invariant 3", "counts on entries"}},
		{BugNoRecord, 50, []string{"invariant 3"}},
		{BugEarlyRelease, 50, []string{"invariant 3"}},
		{BugForgottenApplied, 50, []string{"invariant 2", "invariant 3", "exactly once"}},
	}
	for _, c := range cases {
		t.Run(c.bug.String(), func(t *testing.T) { plant(t, Options{Bug: c.bug, Blind: true}, c.within, c.want...) })
	}
}

// What the worlds are for happens in them.
func TestTroubleHappens(t *testing.T) {
	dir := scratch(t)
	counts := make(map[string]uint64)
	for seed := uint64(1); seed <= 40; seed++ {
		r := Run(Options{Seed: seed, Dir: dir, Log: LogSimulated, Machine: MachineMemory})
		if r.Err != nil {
			t.Errorf("%v\nto see it again: %s", r.Err, again(seed))
		}
		for what, n := range r.Counts {
			counts[what] += n
		}
	}
	for _, what := range []string{"crash", "start", "part", "deafen", "disk", "transfer", "wipe", "change", "snapshot", "snap-send", "snap-refused",
		"received", "restored", "unknown", "acknowledged", "compacted"} {
		if counts[what] == 0 {
			t.Errorf("%q never happened: %v", what, counts)
		}
	}
	t.Log(counts)
}

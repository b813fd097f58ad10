// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"keelson.io/keelson/test/harness"
)

// clusterSession is a script's view of three members. They are called by what they are at the start: L leads, F and G
// follow. Ids and addresses are put in place of {L}, {id:L} and {peer:L}, and their names in the place of these in
// what is printed.
type clusterSession struct {
	t       *testing.T
	client  client
	members map[string]*harness.Server
	ids     map[string]uint64
	term    uint64   // at the start
	hidden  []string // old, new, ... for a strings.Replacer
	vars    map[string]string
	env     []string // of etcdctl
}

// clusterStep is an etcdctl command of the script: where it is asked, and whether it fails.
type clusterStep struct {
	at    string // names of members, with commas
	args  string
	fails bool
	// keep remembers what the expression's group matches, by this name.
	keep  string
	match string
}

const (
	leaseID  = `lease ([0-9a-f]+) granted`
	memberID = `Member +([0-9a-f]+) added`
)

var clusterScript = []clusterStep{
	{at: "F", args: "member list"},
	{at: "F", args: "member list -w table"},
	{at: "G", args: "member list -w json"},
	{at: "F", args: "put a 1"},
	{at: "G", args: "get a"},
	{at: "L,F,G", args: "endpoint health"},
	{at: "F", args: "endpoint health --cluster"},
	{at: "F", args: "endpoint status --cluster"},
	{at: "L,F,G", args: "endpoint status -w fields"},
	{at: "F", args: "endpoint hashkv --cluster"},
	{at: "F", args: "endpoint hashkv --cluster -w json"},

	{at: "F", args: "lease grant 300", keep: "lease", match: leaseID},
	{at: "G", args: "lease keep-alive --once {lease}"},
	{at: "G", args: "put leased 1 --lease={lease}"},
	{at: "F", args: "lease timetolive {lease} --keys"},
	{at: "G", args: "lease list"},
	{at: "G", args: "lease revoke {lease}"},
	{at: "F", args: "lease timetolive {lease}"},
	{at: "F", args: "lease keep-alive --once {lease}", fails: true},
	{at: "F", args: "lease revoke {lease}", fails: true},
	{at: "F", args: "alarm list"},

	{at: "L,F,G", args: "move-leader 1234", fails: true},
	{at: "F,G", args: "move-leader {id:F}", fails: true},
	{at: "L,F,G", args: "move-leader {id:F}"},
	{at: "L,F,G", args: "move-leader {id:L}"},

	{at: "F", args: "member add new", fails: true},
	{at: "F", args: "member add new --peer-urls=nonsense", fails: true},
	{at: "F", args: "member add new --peer-urls={peer:G}", fails: true},
	{at: "F", args: "member add new --learner --peer-urls=http://127.0.0.1:1", keep: "new", match: memberID},
	{at: "G", args: "member list"},
	{at: "F", args: "member add more --learner --peer-urls=http://127.0.0.1:2", fails: true},
	{at: "F", args: "member promote {new}", fails: true},
	{at: "L", args: "member promote {new}", fails: true},
	{at: "G", args: "member promote {id:G}", fails: true},
	{at: "G", args: "member promote 1234", fails: true},
	{at: "G", args: "member update {new} --peer-urls=http://127.0.0.1:3"},
	{at: "F", args: "member list"},
	{at: "G", args: "member update 1234 --peer-urls=http://127.0.0.1:4", fails: true},
	{at: "G", args: "member update {new} --peer-urls={peer:G}", fails: true},
	{at: "G", args: "member remove {new}"},
	{at: "F", args: "member remove {new}", fails: true},
	{at: "F", args: "member remove 1234", fails: true},
	{at: "F", args: "member list"},
}

// withoutQuorum is what the last member says.
var withoutQuorum = []clusterStep{
	{at: "G", args: "put b 1 --command-timeout=2s", fails: true},
	{at: "G", args: "get a --command-timeout=2s", fails: true},
	{at: "G", args: "get a --consistency=s"},
	{at: "G", args: "endpoint health --command-timeout=2s", fails: true},
	{at: "G", args: "member list --command-timeout=2s", fails: true},
	{at: "G", args: "member remove {id:L} --command-timeout=2s", fails: true},
	{at: "G", args: "move-leader {id:G} --command-timeout=2s", fails: true},
}

// etcdctl prints the same about a cluster, and exits with the same status, whether the members are etcd's or keelson's.
func TestEtcdctlOfClusters(t *testing.T) {
	t.Run("3.7", func(t *testing.T) { compareClusters(t, etcdctl37(t), (*clusterSession).awaitChanges) })
	t.Run("3.4", func(t *testing.T) { compareClusters(t, etcdctl34(t), (*clusterSession).awaitChanges) })
	t.Run("3.7 as root", func(t *testing.T) {
		compareClusters(t, etcdctl37(t), func(s *clusterSession) {
			s.awaitChanges()
			s.becomeRoot()
		})
	})
}

// compareClusters runs the scripts on a cluster of etcds and one of keelsons, each of which is prepared.
func compareClusters(t *testing.T, c client, prepare func(*clusterSession)) {
	etcd, other := newClusterSession(t, c, harness.Etcd), newClusterSession(t, c, challenger())
	for _, s := range []*clusterSession{etcd, other} {
		prepare(s)
	}
	compareSteps(t, etcd, other, clusterScript)
	for _, s := range []*clusterSession{etcd, other} {
		s.wantTerm(s.term + scriptElections)
	}
	for _, s := range []*clusterSession{etcd, other} {
		s.members["L"].Kill()
		s.members["F"].Kill()
	}
	compareSteps(t, etcd, other, withoutQuorum)
	for _, s := range []*clusterSession{etcd, other} {
		s.members["G"].Kill() // without a quorum it does not end in good order
	}
}

// becomeRoot enables authentication and has etcdctl say who it is.
func (s *clusterSession) becomeRoot() {
	s.t.Helper()
	ctx, client := s.t.Context(), s.members["L"].Client(s.t)
	_, err := client.UserAdd(ctx, "root", "secret")
	if err == nil {
		_, err = client.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = client.AuthEnable(ctx)
	}
	if err != nil {
		s.t.Fatalf("enable authentication: %v", err)
	}
	s.env = []string{"ETCDCTL_USER=root:secret"}
}

// scriptElections is how often the script moves leadership.
const scriptElections = 2

// wantTerm fails the test if there were elections that the script knows nothing of: its transcripts do not count then.
func (s *clusterSession) wantTerm(want uint64) {
	s.t.Helper()
	m := s.members["L"]
	config := clientv3.Config{Endpoints: []string{m.Endpoint()}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
	if s.env != nil {
		config.Username, config.Password = "root", "secret"
	}
	client, err := clientv3.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	status, err := client.Status(s.t.Context(), m.Endpoint())
	if err != nil {
		s.t.Fatal(err)
	}
	if status.RaftTerm != want {
		s.t.Errorf("%v: the members are in term %d instead of %d: leaders came and went by themselves", m.Kind(), status.RaftTerm, want)
	}
}

func compareSteps(t *testing.T, etcd, other *clusterSession, steps []clusterStep) {
	t.Helper()
	for _, step := range steps {
		var want, got result
		var both sync.WaitGroup
		both.Go(func() { want = etcd.run(step) })
		both.Go(func() { got = other.run(step) })
		both.Wait()
		// The script says how etcdctl 3.7 ends. Who must authenticate needs a quorum for that.
		if etcd.client.version == "3.7" && etcd.env == nil && step.fails != (want.code != 0) {
			t.Fatalf("%s: the script expects another exit status than etcd's\n%s", step.args, want.text)
		}
		if got != want {
			t.Errorf("%s\n--- etcd\n%s--- %v\n%s", step.args, want.text, challenger(), got.text)
		}
	}
}

// patient members elect nobody else because the machine is busy: the script knows who leads.
var patient = []string{"--log-level=error", "--heartbeat-interval=300", "--election-timeout=3000"}

func newClusterSession(t *testing.T, c client, kind harness.Kind) *clusterSession {
	t.Helper()
	s := &clusterSession{
		t: t, client: c, members: make(map[string]*harness.Server), ids: make(map[string]uint64), vars: make(map[string]string),
	}
	followers := []string{"F", "G"}
	for _, m := range harness.StartMembers(t, kind, 3, harness.Options{Args: patient}, nil) {
		m.AwaitStorageVersion(t)
		status, err := m.Client(t).Status(t.Context(), m.Endpoint())
		if err != nil {
			t.Fatalf("%v: status: %v", kind, err)
		}
		s.term = max(s.term, status.RaftTerm)
		name := "L"
		if status.Leader != status.Header.MemberId {
			name, followers = followers[0], followers[1:]
		}
		id := status.Header.MemberId
		s.members[name], s.ids[name] = m, id
		s.hidden = append(s.hidden,
			fmt.Sprintf("%x", id), "<id "+name+">", fmt.Sprint(id), "<id "+name+">",
			m.Endpoint(), "<"+name+">", strings.TrimPrefix(m.PeerURL(), "http://"), "<peer "+name+">",
			m.Name()+",", "<name "+name+">,", " "+m.Name()+" ", " <name "+name+"> ", `"`+m.Name()+`"`, `"<name `+name+`>"`, m.Name()+"=", "<name "+name+">=",
			fmt.Sprintf("%x", status.Header.ClusterId), "<cluster>", fmt.Sprint(status.Header.ClusterId), "<cluster>")
	}
	return s
}

// awaitChanges waits until changes of membership are taken: a member must have been connected for some seconds.
func (s *clusterSession) awaitChanges() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	client := s.members["L"].Client(s.t)
	for {
		added, err := client.MemberAddAsLearner(ctx, []string{"http://127.0.0.1:9"})
		if err == nil {
			_, err = client.MemberRemove(ctx, added.Member.ID)
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("no change of membership is taken: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// run runs a step's command.
func (s *clusterSession) run(step clusterStep) result {
	var endpoints []string
	for _, name := range strings.Split(step.at, ",") {
		endpoints = append(endpoints, s.members[name].Endpoint())
	}
	args := []string{"--endpoints=" + strings.Join(endpoints, ",")}
	for _, word := range strings.Fields(step.args) {
		args = append(args, s.fill(word))
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), commandWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.client.path, args...)
	cmd.Env = append(harness.CleanEnviron(), s.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{text: err.Error(), code: -1}
	}
	if step.keep != "" {
		if m := regexp.MustCompile(step.match).FindStringSubmatch(stdout.String()); m != nil {
			s.vars[step.keep] = m[1]
			s.hidden = append([]string{m[1], "<" + step.keep + ">"}, s.hidden...)
		}
	}
	return result{text: s.normalize(stdout.String() + withoutLog(stderr.String())), code: cmd.ProcessState.ExitCode()}
}

// fill puts ids and addresses in the place of their names.
func (s *clusterSession) fill(word string) string {
	for name, value := range s.vars {
		word = strings.ReplaceAll(word, "{"+name+"}", value)
	}
	for name, m := range s.members {
		word = strings.NewReplacer("{id:"+name+"}", fmt.Sprintf("%x", s.ids[name]), "{peer:"+name+"}", m.PeerURL()).Replace(word)
	}
	return word
}

// withoutLog drops the client's log, which is about its connections.
func withoutLog(stderr string) string {
	var kept strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "{") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// clusterVolatile is what differs between two clusters beyond what differs between two servers.
var clusterVolatile = []struct {
	what *regexp.Regexp
	with string
}{
	// Terms and indexes, in fields, JSON, and the columns before the errors.
	{regexp.MustCompile(`"(RaftTerm|RaftIndex|raft_term|raftTerm|raftIndex)" ?: ?\d+`), `"$1":<n>`},
	{regexp.MustCompile(`(true|false), (true|false), \d+, \d+, <applied>,`), `$1, $2, <n>, <n>, <applied>,`},
	{regexp.MustCompile(`(?m) +$`), ``},
}

// normalize makes the output of two clusters comparable. Members are listed in the order of their ids, which chance
// decides, so lines, and the items of JSON, are sorted.
func (s *clusterSession) normalize(text string) string {
	text = strings.NewReplacer(s.hidden...).Replace(text)
	for _, v := range slices.Concat(volatile, clusterVolatile) {
		text = v.what.ReplaceAllString(text, v.with)
	}
	text = strings.ReplaceAll(text, "},{", "}\n{")
	text = strings.NewReplacer("[{", "[\n{", "}]", "}\n]").Replace(text)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if list, ok := strings.CutPrefix(line, "ETCD_INITIAL_CLUSTER="); ok {
			members := strings.Split(strings.Trim(list, `"`), ",")
			slices.Sort(members)
			lines[i] = "ETCD_INITIAL_CLUSTER=" + strings.Join(members, ",")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

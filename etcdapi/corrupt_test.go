// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/sqlstore"
)

// told are hashes by revision. Revisions that it has nothing for are those of
// the future.
type told map[int64]sqlstore.HashResult

// switched is a hashStore that gives what it is told, or the member's own hashes.
type switched struct {
	own hashStore

	mu     sync.Mutex
	told   told    // nil: own
	faults []error // of the next calls of HashKV
}

// fault is the error of this call of HashKV.
func (s *switched) fault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	err := s.faults[0]
	s.faults = s.faults[1:]
	return err
}

func (s *switched) tell(hashes told) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = hashes
}

func (s *switched) hashes() told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// HashKV implements hashStore.
func (s *switched) HashKV(ctx context.Context, revision int64) (sqlstore.HashResult, error) {
	if err := s.fault(); err != nil {
		return sqlstore.HashResult{}, err
	}
	hashes := s.hashes()
	if hashes == nil {
		return s.own.HashKV(ctx, revision)
	}
	if revision == 0 {
		revision = slices.Max(slices.Collect(maps.Keys(hashes)))
	}
	h, ok := hashes[revision]
	if !ok {
		return h, sqlstore.ErrFutureRevision
	}
	h.HashRevision = revision
	return h, nil
}

// CompactHashes implements hashStore.
func (s *switched) CompactHashes() []sqlstore.HashResult {
	hashes := s.hashes()
	if hashes == nil {
		return s.own.CompactHashes()
	}
	var all []sqlstore.HashResult
	for revision, h := range hashes {
		h.HashRevision = revision
		all = append(all, h)
	}
	return all
}

func hashed(hash uint32, compacted int64) sqlstore.HashResult {
	return sqlstore.HashResult{Hash: hash, CompactRevision: compacted}
}

// accused are the members whose CORRUPT alarm is raised, by name; "" for member 0.
func (c *trio) accused() []string {
	names := []string{}
	for _, a := range c.leader().store.Alarms(pb.AlarmType_CORRUPT) {
		if m := c.byID(a.MemberID); m != nil {
			names = append(names, m.name)
		} else {
			names = append(names, "")
		}
	}
	slices.Sort(names)
	return names
}

func TestCompactionsAreCompared(t *testing.T) {
	// Of the roles, not the names: which member leads is not known before.
	cases := []struct {
		name           string
		leader, f1, f2 told
		accused        []string // by role
		checked        int64
	}{
		{
			name:   "all equal",
			leader: told{10: hashed(1, 5), 20: hashed(2, 10)}, f1: told{10: hashed(1, 5), 20: hashed(2, 10)}, f2: told{10: hashed(1, 5), 20: hashed(2, 10)},
			checked: 20,
		},
		{
			name:   "a follower differs",
			leader: told{20: hashed(2, 10)}, f1: told{20: hashed(2, 10)}, f2: told{20: hashed(3, 10)},
			accused: []string{"f2"},
		},
		{
			name:   "the leader differs",
			leader: told{20: hashed(2, 10)}, f1: told{20: hashed(3, 10)}, f2: told{20: hashed(3, 10)},
			accused: []string{"leader"},
		},
		{
			name:   "all differ",
			leader: told{20: hashed(1, 10)}, f1: told{20: hashed(2, 10)}, f2: told{20: hashed(3, 10)},
			accused: []string{""},
		},
		{
			name:   "two of three known, and different",
			leader: told{20: hashed(1, 10)}, f1: told{20: hashed(2, 10)}, f2: told{},
			accused: []string{""},
		},
		{
			name:   "one is behind, an earlier compaction differs",
			leader: told{10: hashed(1, 5), 20: hashed(2, 10)}, f1: told{10: hashed(1, 5), 20: hashed(2, 10)}, f2: told{10: hashed(9, 5)},
			accused: []string{"f2"},
		},
		{
			name:   "one is behind, all equal as far as it is",
			leader: told{10: hashed(1, 5), 20: hashed(2, 10)}, f1: told{10: hashed(1, 5), 20: hashed(2, 10)}, f2: told{10: hashed(1, 5)},
			checked: 10,
		},
		{
			name:   "a hash of another compaction says nothing",
			leader: told{20: hashed(2, 10)}, f1: told{20: hashed(2, 10)}, f2: told{20: hashed(3, 20)},
		},
	}
	c := startTrio(t, trioOptions{})
	leader, followers := c.leader(), c.followers()
	roles := map[string]*third{"leader": leader, "f1": followers[0], "f2": followers[1]}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			leader.hashes.tell(test.leader)
			followers[0].hashes.tell(test.f1)
			followers[1].hashes.tell(test.f2)
			leader.corruption.checked = 0
			leader.corruption.compactions(testContext(t))
			want := []string{}
			for _, role := range test.accused {
				if role != "" {
					role = roles[role].name
				}
				want = append(want, role)
			}
			if got := c.accused(); !slices.Equal(got, want) {
				t.Errorf("accused %q, want %q", got, want)
			}
			if got := leader.corruption.checked; got != test.checked {
				t.Errorf("checked %d, want %d", got, test.checked)
			}
			c.disarm()
		})
	}
}

// disarm ends all alarms, as etcdctl alarm disarm does.
func (c *trio) disarm() {
	c.t.Helper()
	if _, err := c.client(c.leader()).AlarmDisarm(testContext(c.t), &clientv3.AlarmMember{}); err != nil {
		c.t.Fatal(err)
	}
	if left := c.accused(); len(left) > 0 {
		c.t.Fatalf("alarms of %q after disarm", left)
	}
}

func TestHistoriesAreCompared(t *testing.T) {
	c := startTrio(t, trioOptions{})
	leader, followers := c.leader(), c.followers()
	cases := []struct {
		name   string
		f1, f2 sqlstore.HashResult
		wrong  *third
	}{
		{name: "equal", f1: hashed(7, 5), f2: hashed(7, 5)},
		{name: "compacted otherwise", f1: hashed(7, 5), f2: hashed(8, 4)},
		{name: "different", f1: hashed(7, 5), f2: hashed(8, 5), wrong: followers[1]},
		{name: "compacted more than the leader", f1: hashed(7, 6), f2: hashed(7, 5), wrong: followers[0]},
		{name: "ahead of the leader", f1: sqlstore.HashResult{Hash: 7, CompactRevision: 5, Current: 1e6}, f2: hashed(7, 5), wrong: followers[0]},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			leader.hashes.tell(told{20: hashed(7, 5)})
			followers[0].hashes.tell(told{20: test.f1})
			followers[1].hashes.tell(told{20: test.f2})
			if err := leader.corruption.everything(testContext(t)); err != nil {
				t.Fatal(err)
			}
			want := []string{}
			if test.wrong != nil {
				want = append(want, test.wrong.name)
			}
			if got := c.accused(); !slices.Equal(got, want) {
				t.Errorf("accused %q, want %q", got, want)
			}
			c.disarm()
		})
	}
}

// TestChangedRowIsDetected changes one row of one member's database by hand.
func TestChangedRowIsDetected(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	leader, followers := c.leader(), c.followers()
	client := c.client(leader)
	for _, value := range []string{"1", "2", "3"} {
		if _, err := client.Put(ctx, "key", value); err != nil {
			t.Fatal(err)
		}
	}
	c.caughtUp()
	for _, m := range c.members {
		if err := m.CheckInitialCorruption(ctx); err != nil {
			t.Fatalf("%v: %v", m, err)
		}
	}
	wrong, right := followers[0], followers[1]
	wrong.tamper(t)

	err := wrong.CheckInitialCorruption(ctx)
	if err == nil || !strings.Contains(err.Error(), types.ID(wrong.id).String()) ||
		!strings.Contains(err.Error(), leader.name) || !strings.Contains(err.Error(), right.name) {
		t.Fatalf("the changed member says %v", err)
	}
	err = right.CheckInitialCorruption(ctx)
	if err == nil || !strings.Contains(err.Error(), types.ID(wrong.id).String()) || strings.Contains(err.Error(), leader.name) {
		t.Fatalf("another member says %v", err)
	}
	if err := leader.corruption.everything(ctx); err != nil {
		t.Fatal(err)
	}
	if got := c.accused(); !slices.Equal(got, []string{wrong.name}) {
		t.Fatalf("accused %q, want %s", got, wrong.name)
	}
	refused(t, c, rpctypes.ErrCorrupt)
	c.disarm()
	refused(t, c, nil)
}

// TestChangedRowIsDetectedByCompactions needs no one to read everything.
func TestChangedRowIsDetectedByCompactions(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	leader := c.leader()
	client := c.client(leader)
	var last int64
	for _, value := range []string{"1", "2", "3", "4"} {
		resp, err := client.Put(ctx, "key", value)
		if err != nil {
			t.Fatal(err)
		}
		last = resp.Header.Revision
	}
	c.compact(last - 3)
	if leader.corruption.compactions(ctx); leader.corruption.checked != last-3 {
		t.Fatalf("checked %d, want %d", leader.corruption.checked, last-3)
	}
	wrong := c.followers()[1]
	wrong.tamper(t)
	c.compact(last)
	leader.corruption.compactions(ctx)
	if got := c.accused(); !slices.Equal(got, []string{wrong.name}) {
		t.Fatalf("accused %q, want %s", got, wrong.name)
	}
}

// compact compacts, and waits until every member has a hash of that.
func (c *trio) compact(revision int64) {
	c.t.Helper()
	if _, err := c.client(c.leader()).Compact(testContext(c.t), revision); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, "hashes of the compaction", func() bool {
		return !slices.ContainsFunc(c.members, func(m *third) bool {
			newest := m.hashes.CompactHashes()
			return len(newest) == 0 || newest[0].HashRevision != revision
		})
	})
}

// refused checks that every member answers writes with want.
func refused(t *testing.T, c *trio, want error) {
	t.Helper()
	ctx := testContext(t)
	for _, m := range c.members {
		client := c.client(m)
		_, put := client.Put(ctx, "refused?", "")
		_, del := client.Delete(ctx, "refused?")
		_, txn := client.Txn(ctx).Then(clientv3.OpPut("refused?", "")).Commit()
		_, grant := client.Grant(ctx, 100)
		for what, err := range map[string]error{"put": put, "delete": del, "txn": txn, "grant": grant} {
			if !errors.Is(err, want) {
				t.Errorf("%v: %s: %v, want %v", m, what, err, want)
			}
		}
		if _, err := client.Get(ctx, "key"); err != nil {
			t.Errorf("%v: get: %v", m, err)
		}
	}
}

// tamper gives the newest version of "key" another value behind the server's back.
func (m *third) tamper(t *testing.T) {
	t.Helper()
	if _, err := m.store.Persist(testContext(t)); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", m.dbPath+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	result, err := db.Exec("UPDATE history SET value = x'ff' WHERE key = CAST('key' AS BLOB) AND version = 3")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows changed, %v", n, err)
	}
}

// A snapshot that is restored, or a compaction, while a member compares for the
// first time is no reason to end; what it compares then counts.
func TestInitialCheckGoesWithTheHistory(t *testing.T) {
	c := startTrio(t, trioOptions{})
	ctx := testContext(t)
	client, m := c.client(c.leader()), c.followers()[0]
	for _, value := range []string{"1", "2", "3"} {
		if _, err := client.Put(ctx, "key", value); err != nil {
			t.Fatal(err)
		}
	}
	c.caughtUp()
	moved := []error{sqlstore.ErrCompacted, sqlstore.ErrFutureRevision, sqlstore.ErrCompacted}
	m.hashes.faults = moved
	if err := m.CheckInitialCorruption(ctx); err != nil || len(m.hashes.faults) > 0 {
		t.Errorf("a history that moves on: %v", err)
	}
	if m.logs.FilterMessageSnippet("did not come to an end").Len() != 1 {
		t.Error("nobody is warned")
	}
	other := errors.New("the disk is gone")
	m.hashes.faults = []error{other}
	if err := m.CheckInitialCorruption(ctx); !errors.Is(err, other) {
		t.Errorf("a history that can't be read: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := m.CheckInitialCorruption(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a check that is to end: %v", err)
	}
	m.tamper(t)
	m.hashes.faults = moved[:2]
	if err := m.CheckInitialCorruption(ctx); err == nil || !strings.Contains(err.Error(), "data inconsistency") {
		t.Errorf("after moving on: %v", err)
	}
}

func TestSkippedPeersAreLogged(t *testing.T) {
	c := startTrio(t, trioOptions{})
	leader := c.leader()
	leader.hashes.tell(told{20: hashed(7, 5)})
	for _, m := range c.followers() {
		m.hashes.tell(told{10: hashed(7, 5)})
	}
	if err := leader.corruption.everything(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if skipped := leader.logs.FilterMessageSnippet("skipped a peer").Len(); skipped != 2 {
		t.Errorf("%d skipped peers are logged, want 2", skipped)
	}
}

// The listener for members ends a request's context after five seconds, which is
// not when a hash is done.
func TestHashIsMadeThoughTheContextEnds(t *testing.T) {
	c := startTrio(t, trioOptions{})
	m := c.leader()
	ended, cancel := context.WithCancel(testContext(t))
	cancel()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ended, http.MethodGet, hashKVPath, strings.NewReader(`{}`))
	m.hashKVHandler().ServeHTTP(w, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"hash"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestHashEndpoint holds /members/hashkv to what an etcd member sends and expects.
func TestHashEndpoint(t *testing.T) {
	c := startTrio(t, trioOptions{})
	m := c.leader()
	m.hashes.tell(told{20: {Hash: 7, CompactRevision: 5, Current: 33}})
	ask := func(method, body, cluster string) (int, string, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(testContext(t), method, m.url()+hashKVPath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if cluster != "" {
			r.Header.Set("X-Etcd-Cluster-ID", cluster)
		}
		answer, err := m.peers.do(r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return answer.status, strings.TrimSpace(string(answer.body)), answer.header
	}
	own := types.ID(m.clusterID).String()
	for _, test := range []struct {
		method, body, cluster string
		status                int
		answer                string
	}{
		{"GET", `{"revision":20}`, own, 200, `{"header":{"revision":33},"hash":7,"compact_revision":5,"hash_revision":20}`},
		{"GET", `{}`, "", 200, `{"header":{"revision":33},"hash":7,"compact_revision":5,"hash_revision":20}`},
		{"GET", `{"revision":21}`, own, 400, "mvcc: required revision is a future revision"},
		{"GET", `{"revision":20}`, "abc", 412, "cluster ID mismatch"},
		{"GET", `revision`, own, 400, "error unmarshalling request"},
		{"GET", strings.Repeat(" ", maxHashMessageBytes+1), own, 413, "request body too large"},
		{"POST", `{"revision":20}`, own, 405, "Method Not Allowed"},
	} {
		status, answer, header := ask(test.method, test.body, test.cluster)
		if status != test.status || answer != test.answer {
			t.Errorf("%s %.20s: %d %q, want %d %q", test.method, test.body, status, answer, test.status, test.answer)
		}
		if status == 200 && (header.Get("X-Etcd-Cluster-ID") != own || header.Get("Content-Type") != "application/json") {
			t.Errorf("header %v", header)
		}
	}
}

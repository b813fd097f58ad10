// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"flag"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelson.io/keelson/test/harness"
)

var (
	rounds = flag.Int("rounds", 10, "how often TestKill kills the server")
	seed   = flag.Uint64("seed", 0, "what TestKill draws its numbers from; 0: from the clock")
)

// Bounds of TestKill. The timeouts end a test that hangs; they measure nothing.
const (
	writers        = 6
	roundTimeout   = 2 * time.Minute
	fewestWrites   = 100 // acknowledged before the kill
	mostWrites     = 1200
	emptyRevision  = 1 // of a store nobody has written to
	killsInStartUp = 4 // one in so many restarts is killed, too
)

// killTest is the state that lasts over the rounds of TestKill.
type killTest struct {
	t      *testing.T
	random *rand.Rand
	server *harness.Server
	conn   *grpc.ClientConn

	writers   []*writer
	followers []*follower
	newest    atomic.Int64
	killed    atomic.Bool

	start    int64 // revision after the last round
	compact  int64 // last revision that was compacted at
	state    state // at start
	compared int   // rounds in which the hashes before and after were of the same revisions
}

// TestKill kills a server with SIGKILL under load, again and again. After each restart everything that was acknowledged is
// there with its revision, watches have gone on without a gap or a repeat, the file is sound, and HashKV is what it
// was before.
func TestKill(t *testing.T) {
	draw := *seed
	if draw == 0 {
		draw = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat by: go test ./test/cluster -run '^TestKill$' -rounds %d -seed %d", *rounds, draw)
	// Snapshots often, so that the log is cut back and replayed from the middle as well.
	server := harness.Start(t, serverKind(t), harness.Options{Args: []string{"--snapshot-count=1000"}})
	k := &killTest{t: t, server: server, conn: server.Conn(t), random: rand.New(rand.NewPCG(draw, draw)), start: emptyRevision, state: state{}}
	for id := range writers {
		random := rand.New(rand.NewPCG(draw, uint64(id)))
		k.writers = append(k.writers, newWriter(id, server.Conn(t), random, &k.killed))
	}
	k.followers = []*follower{
		newFollowerWithPrevious(t, "follower with prev_kv", server.Conn(t), emptyRevision),
		newFollower(t, "follower", server.Conn(t), emptyRevision),
		newFollower(t, "follower on the writers' connection", k.conn, emptyRevision),
	}
	writes := int64(0)
	for round := range *rounds {
		writes += k.round(round)
		if t.Failed() {
			t.Fatalf("round %d was not as promised", round)
		}
	}
	t.Logf("%d rounds, %d writes acknowledged, revision %d, hashes compared in %d rounds", *rounds, writes, k.start, k.compared)
	if k.compared*2 < *rounds {
		t.Errorf("hashes could be compared in %d of %d rounds only", k.compared, *rounds)
	}
}

// round puts load on the server, kills it, starts it again, and compares. It returns the number of acknowledged writes.
func (k *killTest) round(number int) int64 {
	ctx, cancel := context.WithTimeout(k.t.Context(), roundTimeout)
	defer cancel()
	record := newRecord(&k.newest)
	before := k.loadUntilKilled(ctx, record)
	checkFile(k.t, k.server)
	if k.random.IntN(killsInStartUp) == 0 {
		killInStartUp(k.t, k.server, time.Duration(k.random.IntN(100))*time.Millisecond)
		checkFile(k.t, k.server)
	}
	k.server.Restart()

	log := k.checkRevisions(ctx, record)
	k.checkContents(ctx, log)
	k.checkHistory(ctx, log)
	k.checkLeases(ctx)
	k.checkHash(ctx, before)
	k.t.Logf("round %d: %d acknowledged, %d in doubt, revision %d", number, record.count.Load(), len(record.doubts), k.start)
	return record.count.Load()
}

// loadUntilKilled runs the writers until enough is acknowledged, and kills the server. It returns the last answer of
// HashKV from before.
func (k *killTest) loadUntilKilled(ctx context.Context, record *record) *pb.HashKVResponse {
	k.killed.Store(false)
	enough := int64(fewestWrites + k.random.IntN(mostWrites-fewestWrites))
	var clients sync.WaitGroup
	for _, w := range k.writers {
		w.record = record
		clients.Go(func() { w.run(ctx) })
	}
	if k.random.IntN(2) == 0 {
		// The kill may meet the compaction in its middle.
		k.compact = k.compact + 1 + k.random.Int64N(max(1, k.start-k.compact))
		k.compact = min(k.compact, k.start)
		clients.Go(func() { k.compactAt(ctx, record, k.compact) })
	}
	var hash *pb.HashKVResponse
	maintenance := pb.NewMaintenanceClient(k.conn)
	for record.count.Load() < enough && ctx.Err() == nil && k.server.Running() {
		resp, err := maintenance.HashKV(ctx, &pb.HashKVRequest{})
		if err != nil {
			record.fault("HashKV: %w", err)
			break
		}
		hash = resp
	}
	if k.server.Running() {
		k.killed.Store(true)
	}
	k.server.Kill()
	clients.Wait()
	return hash
}

func (k *killTest) compactAt(ctx context.Context, record *record, revision int64) {
	_, err := pb.NewKVClient(k.conn).Compact(ctx, &pb.CompactionRequest{Revision: revision})
	if err != nil && !k.killed.Load() && !isCompacted(err) {
		record.fault("compact at %d: %w", revision, err)
	}
}

// checkRevisions compares what was acknowledged with what the followers have seen, and returns that.
func (k *killTest) checkRevisions(ctx context.Context, record *record) []revisionEvents {
	k.t.Helper()
	resp, err := pb.NewKVClient(k.conn).Range(ctx, &pb.RangeRequest{Key: []byte(counterKey)})
	if err != nil {
		k.t.Fatalf("get after the restart: %v", err)
	}
	record.seen("the first request after the restart", k.newest.Load(), resp.Header.Revision)
	var log []revisionEvents
	for i, f := range k.followers {
		seen, err := f.until(ctx, resp.Header.Revision)
		if err != nil {
			k.t.Fatal(err)
		}
		if i == 0 {
			log = seen
		} else if !reflect.DeepEqual(seen, log) {
			k.t.Errorf("%s and %s have seen different events after revision %d", f.name, k.followers[0].name, k.start)
		}
	}
	faults := record.explain(log)
	for i, fault := range faults {
		if i == 20 {
			k.t.Errorf("and %d faults more", len(faults)-i)
			break
		}
		k.t.Error(fault)
	}
	return log
}

// checkContents compares the newest revision, and one of the round, with what the events leave.
func (k *killTest) checkContents(ctx context.Context, log []revisionEvents) {
	k.t.Helper()
	if len(log) == 0 {
		return
	}
	past := k.start + 1 + k.random.Int64N(int64(len(log)))
	for _, events := range log {
		k.checkCounter(events)
		k.state.apply(events.revision, events.changes)
		if events.revision == past {
			k.compareRange(ctx, past)
		}
	}
	k.start = log[len(log)-1].revision
	k.compareRange(ctx, 0)
	for _, w := range k.writers {
		w.state = state{}
		for key, kv := range k.state {
			if len(key) > len(w.prefix()) && key[:len(w.prefix())] == w.prefix() {
				w.state[key] = kv
			}
		}
	}
}

// checkCounter wants each increment to add one to the counter before it.
func (k *killTest) checkCounter(events revisionEvents) {
	k.t.Helper()
	for _, c := range events.changes {
		if c.key != counterKey {
			continue
		}
		var before int64
		if previous, ok := k.state[counterKey]; ok {
			var err error
			if before, err = counterValue(string(previous.Value)); err != nil {
				k.t.Error(err)
			}
		}
		if after, err := counterValue(c.value); err != nil || after != before+1 {
			k.t.Errorf("revision %d: the counter goes from %d to %d (%v)", events.revision, before, after, err)
		}
	}
}

// compareRange reads all keys at a revision (0: the newest) and compares them with the state.
func (k *killTest) compareRange(ctx context.Context, revision int64) {
	k.t.Helper()
	resp, err := pb.NewKVClient(k.conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: revision})
	if err != nil {
		k.t.Fatalf("all keys at revision %d: %v", revision, err)
	}
	keys := k.state.keys()
	if len(resp.Kvs) != len(keys) {
		k.t.Errorf("revision %d has %d keys, want %d", revision, len(resp.Kvs), len(keys))
		return
	}
	for i, key := range keys {
		if !sameKeyValue(resp.Kvs[i], k.state[key]) {
			k.t.Errorf("revision %d: %v, want %v", revision, resp.Kvs[i], k.state[key])
		}
	}
}

// checkHistory watches the round's events again, from a revision in its middle.
func (k *killTest) checkHistory(ctx context.Context, log []revisionEvents) {
	k.t.Helper()
	if len(log) == 0 {
		return
	}
	from := k.random.IntN(len(log))
	again := newFollower(k.t, "follower of the past", k.conn, log[from].revision-1)
	defer again.stop()
	seen, err := again.until(ctx, k.start)
	if err != nil {
		k.t.Fatal(err)
	}
	if !reflect.DeepEqual(seen, log[from:]) {
		k.t.Errorf("the events from revision %d are not those that were seen before the kill", log[from].revision)
	}
}

// checkLeases wants every lease that was granted and not revoked, and no other but those in doubt.
func (k *killTest) checkLeases(ctx context.Context) {
	k.t.Helper()
	resp, err := pb.NewLeaseClient(k.conn).LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	if err != nil {
		k.t.Fatalf("list leases: %v", err)
	}
	there := map[int64]bool{}
	for _, lease := range resp.Leases {
		there[lease.ID] = true
	}
	for _, w := range k.writers {
		must, may := w.leasesKnown()
		for _, id := range must {
			if !there[id] {
				k.t.Errorf("lease %x was granted, and is lost", id)
			}
			delete(there, id)
		}
		for _, id := range may {
			if there[id] {
				w.leases[id] = true
			}
			delete(there, id)
		}
		clear(w.unsure)
	}
	for id := range there {
		k.t.Errorf("lease %x is there, and was revoked or never granted", id)
	}
}

// checkHash asks for the hash of the revision that was hashed last before the kill. After a compaction in between there is
// nothing to compare.
func (k *killTest) checkHash(ctx context.Context, before *pb.HashKVResponse) {
	k.t.Helper()
	if before == nil {
		return
	}
	after, err := pb.NewMaintenanceClient(k.conn).HashKV(ctx, &pb.HashKVRequest{Revision: before.HashRevision})
	if err != nil && !isCompacted(err) {
		k.t.Fatalf("HashKV at revision %d: %v", before.HashRevision, err)
	}
	if err != nil || after.CompactRevision != before.CompactRevision {
		return
	}
	k.compared++
	if after.Hash != before.Hash {
		k.t.Errorf("HashKV at revision %d, compacted at %d, was %d before the kill, and is %d", before.HashRevision, before.CompactRevision, before.Hash, after.Hash)
	}
}

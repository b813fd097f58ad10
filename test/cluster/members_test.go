// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelson.io/keelson/test/harness"
)

var (
	clusterRounds = flag.Int("cluster-rounds", 6, "how often TestMembers and TestPartitions strike")
	only          = flag.String("blow", "", "regular expression of the blows to strike in TestMembers and TestPartitions, by name")
	nodes         = flag.Int("nodes", 3, "members in TestMembers and TestPartitions")
)

const (
	clientsPerMember = 3
	loadBefore       = 400 * time.Millisecond // before a blow, so that it strikes a cluster at work
	loadAfter        = 600 * time.Millisecond // after it is over
	healTimeout      = 90 * time.Second
	keptLeaseSeconds = 30
)

// clusterTest is the state that lasts over the rounds.
type clusterTest struct {
	t       *testing.T
	random  *rand.Rand
	network *harness.Network
	members harness.Members
	conns   map[*harness.Server]*grpc.ClientConn

	followers []*follower
	newest    atomic.Int64
	start     int64 // revision after the last round
	doubts    []write
	serial    int // of clients
	replaced  int // members
	keptLease int64
	total     int // operations that porcupine has looked at
}

func newClusterTest(t *testing.T, network *harness.Network) *clusterTest {
	draw := *seed
	if draw == 0 {
		draw = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat by: go test ./test/cluster -run '^%s$' -cluster-rounds %d -nodes %d -seed %d", t.Name(), *clusterRounds, *nodes, draw)
	c := &clusterTest{
		t: t, random: rand.New(rand.NewPCG(draw, draw)), network: network, start: emptyRevision,
		conns: make(map[*harness.Server]*grpc.ClientConn),
	}
	// So little is kept in memory that a member that was away needs a snapshot.
	c.members = harness.StartMembers(t, serverKind(t), *nodes, harness.Options{
		Args: []string{"--snapshot-count=500", "--snapshot-catchup-entries=50"},
	}, network)
	for _, m := range c.members {
		c.follow(m, emptyRevision)
	}
	return c
}

// follow connects to a member, and watches there after a revision.
func (c *clusterTest) follow(m *harness.Server, after int64) {
	c.conns[m] = m.Conn(c.t)
	c.followers = append(c.followers, newFollower(c.t, "follower at "+m.Name(), c.conns[m], after))
}

// round strikes while clients work, and compares afterwards.
func (c *clusterTest) round(number int, b blow) {
	c.t.Helper()
	record, history := newRecord(&c.newest), &registerHistory{began: time.Now()}
	record.doubts = c.doubts
	c.reset(record, history)
	working, stop := context.WithCancel(c.t.Context())
	var clients sync.WaitGroup
	for _, m := range c.members {
		for range clientsPerMember {
			client := c.client(m, record, history)
			clients.Go(func() { client.run(working) })
		}
	}
	clients.Go(func() { c.keepLease(working, record) })
	pause(loadBefore)
	struck := time.Now()
	b.strike(c)
	took := time.Since(struck)
	c.heal()
	pause(loadAfter)
	stop()
	clients.Wait()
	c.compare(record, history)
	c.total += len(history.ops)
	c.t.Logf("round %d: %s, %v; %d operations, %d without an answer, the longest answered took %v; revision %d",
		number, b.name, took.Round(time.Millisecond), len(history.ops), history.failed, history.longest.Round(time.Millisecond), c.start)
}

func (c *clusterTest) client(m *harness.Server, record *record, history *registerHistory) *registerClient {
	c.serial++
	return &registerClient{
		id: c.serial, conn: c.conns[m], record: record, history: history, seen: make(map[string]string),
		random: rand.New(rand.NewPCG(c.random.Uint64(), uint64(c.serial))),
	}
}

// reset brings the registers into a known state before a round.
func (c *clusterTest) reset(record *record, history *registerHistory) {
	c.t.Helper()
	client := c.client(c.members[0], record, history)
	for i := range registers {
		client.do(registerOp{key: fmt.Sprintf("register-%d", i), kind: putRegister, value: fmt.Sprintf("%d.start-%d", client.id, i)})
	}
	if history.failed > 0 {
		c.t.Fatal("a cluster that nothing ails does not take writes")
	}
}

// keepLease renews a lease at any member that answers: it must live on, since the cluster is never without a quorum for
// as long as it lasts.
func (c *clusterTest) keepLease(ctx context.Context, record *record) {
	if c.keptLease == 0 {
		c.keptLease = 4711
		lease := pb.NewLeaseClient(c.conns[c.members[0]])
		if _, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: c.keptLease, TTL: keptLeaseSeconds}); err != nil {
			record.fault("grant a lease: %w", err)
			return
		}
	}
	for ctx.Err() == nil {
		for _, m := range slices.Clone(c.members) {
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			ttl, err := renew(attempt, pb.NewLeaseClient(c.conns[m]), c.keptLease)
			cancel()
			if err == nil && ttl <= 0 {
				record.fault("%s says that a lease ran out that was renewed all the time", m.Name())
			}
			if err == nil {
				break
			}
		}
		pause(200 * time.Millisecond)
	}
}

func renew(ctx context.Context, client pb.LeaseClient, id int64) (ttl int64, err error) {
	stream, err := client.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return 0, err
	}
	resp, err := stream.Recv()
	return resp.GetTTL(), err
}

// compare holds the cluster, when all is well again, to what the clients were told.
func (c *clusterTest) compare(record *record, history *registerHistory) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), healTimeout)
	defer cancel()
	revision, err := c.settle(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	var log []revisionEvents
	for i, f := range c.followers {
		seen, err := f.until(ctx, revision)
		if err != nil {
			c.t.Fatal(err)
		}
		if i == 0 {
			log = seen
		} else if !slices.EqualFunc(log, seen, sameEvents) {
			c.t.Errorf("%s saw other events than %s", f.name, c.followers[0].name)
		}
	}
	for _, fault := range record.explain(log) {
		c.t.Error(fault)
	}
	did := happened{values: make(map[string]bool), deletes: make(map[string]int)}
	for _, events := range log {
		_, answered := record.acked[events.revision]
		for _, ch := range events.changes {
			did.values[ch.value] = true
			if ch.delete && !answered {
				did.deletes[ch.key]++
			}
		}
		record.forget(events.changes)
	}
	history.check(c.t, did)
	c.start, c.doubts = revision, record.doubts
}

func sameEvents(a, b revisionEvents) bool {
	return a.revision == b.revision && slices.Equal(a.changes, b.changes)
}

// settle waits until every member has the same state, by its hash, and returns its revision.
func (c *clusterTest) settle(ctx context.Context) (int64, error) {
	for {
		revision, err := c.sameHashes(ctx)
		if err == nil {
			return revision, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("the members do not come together: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *clusterTest) sameHashes(ctx context.Context) (int64, error) {
	var first *pb.HashKVResponse
	for _, m := range c.members {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := pb.NewKVClient(c.conns[m]).Range(attempt, &pb.RangeRequest{Key: []byte("x")})
		var hash *pb.HashKVResponse
		if err == nil {
			hash, err = pb.NewMaintenanceClient(c.conns[m]).HashKV(attempt, &pb.HashKVRequest{})
		}
		cancel()
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", m.Name(), err)
		case first == nil:
			first = hash
		case hash.Header.Revision != first.Header.Revision:
			return 0, fmt.Errorf("%s is at revision %d, %s at %d", m.Name(), hash.Header.Revision, c.members[0].Name(), first.Header.Revision)
		case hash.Hash != first.Hash:
			return 0, fmt.Errorf("at revision %d %s has hash %d, %s %d", first.Header.Revision, m.Name(), hash.Hash, c.members[0].Name(), first.Hash)
		}
	}
	return first.Header.Revision, nil
}

// heal has all members run, reach each other, and be healthy.
func (c *clusterTest) heal() {
	c.t.Helper()
	if c.network != nil {
		c.network.Heal(c.t)
	}
	for _, m := range c.members {
		if !m.Running() {
			m.Run()
		}
	}
	for _, m := range c.members {
		m.WaitReady()
	}
}

// leader asks the members who leads.
func (c *clusterTest) leader() (*harness.Server, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for _, m := range c.members {
		if !m.Running() {
			continue
		}
		status, err := pb.NewMaintenanceClient(c.conns[m]).Status(ctx, &pb.StatusRequest{})
		if err == nil && status.Leader == status.Header.MemberId {
			return m, nil
		}
	}
	return nil, errors.New("no member leads")
}

// TestMembers strikes at the members of a cluster while clients of all of them work: kills, stops, restarts, changes of
// membership. Whatever happens, the clients' answers have an order that explains them, every watcher sees every event
// once and in order, and all members end with the same state.
func TestMembers(t *testing.T) {
	newClusterTest(t, nil).run(blows)
}

// TestPartitions does the same with a network that parts them.
func TestPartitions(t *testing.T) {
	if !harness.Isolated(t) {
		return
	}
	newClusterTest(t, harness.NewNetwork(t)).run(partitions)
}

// run strikes in all rounds: each blow once in the first ones, in any order, and any afterwards.
func (c *clusterTest) run(all []blow) {
	c.t.Helper()
	wanted, err := regexp.Compile(*only)
	if err != nil {
		c.t.Fatalf("-blow: %v", err)
	}
	all = slices.DeleteFunc(slices.Clone(all), func(b blow) bool { return !wanted.MatchString(b.name) })
	if len(all) == 0 {
		c.t.Skipf("no blow is called %s", *only)
	}
	c.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for round := range *clusterRounds {
		if round < len(all) {
			c.round(round, all[round])
		} else {
			c.round(round, all[c.random.IntN(len(all))])
		}
		if c.t.Failed() {
			c.t.Fatalf("round %d was not as promised", round)
		}
	}
	c.t.Logf("%d rounds with %d members, %d operations in an order", *clusterRounds, *nodes, c.total)
}

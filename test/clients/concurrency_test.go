// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// newSession is a session that outlives the loss of a leader.
func newSession(t *testing.T, client *clientv3.Client) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	must(t, err)
	t.Cleanup(func() {
		// The test may have closed it; its lease ends by itself anyway.
		_ = s.Close()
	})
	return s
}

// A session is kept alive over the loss of the leader; what it holds goes when it is
// closed, or when nobody keeps it alive.
func useSession(t *testing.T, ctx context.Context, c *cluster) {
	const ttl = 4
	client := c.client(t)
	kept, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	must(t, err)
	_, err = client.Put(ctx, c.key+"kept", "v", clientv3.WithLease(kept.Lease()))
	must(t, err)
	c.crash(t, ctx)
	select {
	case <-kept.Done():
		t.Fatal("the session ended with the leader")
	case <-time.After((ttl + 2) * time.Second):
	}
	if get(t, ctx, client, c.key+"kept") != "v" {
		t.Error("the session lost its key")
	}
	must(t, kept.Close())
	if get(t, ctx, client, c.key+"kept") != "" {
		t.Error("the session is closed and its key is there")
	}

	orphan, err := concurrency.NewSession(client, concurrency.WithTTL(1))
	must(t, err)
	put, err := client.Put(ctx, c.key+"orphan", "v", clientv3.WithLease(orphan.Lease()))
	must(t, err)
	orphan.Orphan()
	for r := range client.Watch(ctx, c.key+"orphan", clientv3.WithRev(put.Header.Revision+1)) {
		must(t, r.Err())
		if len(r.Events) == 1 && r.Events[0].Type == clientv3.EventTypeDelete {
			return
		}
	}
	t.Error("the orphan's key outlives it")
}

// One session at a time holds a mutex, over the loss of the leader too.
func useMutex(t *testing.T, ctx context.Context, c *cluster) {
	client := c.client(t)
	s1, s2 := newSession(t, client), newSession(t, client)
	m1, m2 := concurrency.NewMutex(s1, c.key+"m"), concurrency.NewMutex(s2, c.key+"m")
	must(t, m1.Lock(ctx))
	if err := m2.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("a second lock: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- m2.Lock(ctx) }()
	awaitCount(t, ctx, client, c.key+"m", 2)
	c.crash(t, ctx)
	var owner *clientv3.TxnResponse
	retry(t, ctx, "work under the lock", func() (err error) {
		owner, err = client.Txn(ctx).If(m1.IsOwner()).Then(clientv3.OpPut(c.key+"work", "done")).Commit()
		return err
	})
	if !owner.Succeeded {
		t.Error("the lock was lost with the leader")
	}
	select {
	case err := <-got:
		t.Fatalf("there are two owners: %v", err)
	default:
	}
	retry(t, ctx, "unlock", func() error { return m1.Unlock(ctx) })
	must(t, <-got)
	must(t, s2.Close()) // an owner that goes
	must(t, m1.Lock(ctx))
	must(t, m1.Unlock(ctx))
}

// awaitCount waits for a number of keys below a prefix.
func awaitCount(t *testing.T, ctx context.Context, client *clientv3.Client, prefix string, want int64) {
	t.Helper()
	for {
		r, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
		must(t, err)
		if r.Count == want {
			return
		}
	}
}

// An election has one leader, who stays it over the loss of the cluster's, and
// whom the next one follows when the session ends.
func useElection(t *testing.T, ctx context.Context, c *cluster) {
	client := c.client(t)
	s1, s2 := newSession(t, client), newSession(t, client)
	e1, e2 := concurrency.NewElection(s1, c.key+"e"), concurrency.NewElection(s2, c.key+"e")
	if _, err := e1.Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("before there is a leader: %v", err)
	}
	must(t, e1.Campaign(ctx, "one"))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	observed := e1.Observe(watching)
	observe := func(want string) {
		t.Helper()
		for r := range observed {
			if string(r.Kvs[0].Value) == want {
				return
			}
		}
		t.Errorf("%q was never observed", want)
	}
	observe("one")
	elected := make(chan error, 1)
	go func() { elected <- e2.Campaign(ctx, "two") }()
	awaitCount(t, ctx, client, c.key+"e", 2)
	c.crash(t, ctx)
	retry(t, ctx, "proclaim", func() error { return e1.Proclaim(ctx, "uno") })
	observe("uno")
	resumed := concurrency.ResumeElection(s1, c.key+"e", e1.Key(), e1.Rev())
	must(t, resumed.Proclaim(ctx, "still one"))
	observe("still one")
	must(t, s1.Close())
	must(t, <-elected)
	observe("two")
	if err := e1.Proclaim(ctx, "late"); err == nil {
		t.Error("who has lost the election proclaims")
	}
	r, err := e2.Leader(ctx)
	must(t, err)
	if string(r.Kvs[0].Value) != "two" {
		t.Errorf("the leader is %q", r.Kvs[0].Value)
	}
	must(t, e2.Resign(ctx))
}

// Transfers between accounts are made once each, at whatever isolation, while the
// leader is lost.
func useSTM(t *testing.T, ctx context.Context, c *cluster) {
	const accounts, workers, each, start = 4, 4, 15, 1000
	client := c.client(t)
	account := func(i int) string { return fmt.Sprintf("%saccount%d", c.key, i%accounts) }
	want := map[string]int{}
	for i := range accounts {
		_, err := client.Put(ctx, account(i), strconv.Itoa(start))
		must(t, err)
		want[account(i)] = start
	}
	transfer := func(id string, from, to string, amount int) error {
		_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
			if s.Get(c.key+"done/"+id) != "" {
				return nil // an answer was lost
			}
			a, errA := strconv.Atoi(s.Get(from))
			b, errB := strconv.Atoi(s.Get(to))
			s.Put(from, strconv.Itoa(a-amount))
			s.Put(to, strconv.Itoa(b+amount))
			s.Put(c.key+"done/"+id, "yes")
			return errors.Join(errA, errB)
		}, concurrency.WithAbortContext(ctx), concurrency.WithIsolation(concurrency.Serializable))
		return err
	}
	var all sync.WaitGroup
	half := make(chan struct{})
	for w := range workers {
		for i := range each {
			want[account(w+i)] -= w + 1
			want[account(w+i+1)] += w + 1
		}
		all.Go(func() {
			for i := range each {
				retry(t, ctx, "transfer", func() error {
					return transfer(fmt.Sprintf("%d-%d", w, i), account(w+i), account(w+i+1), w+1)
				})
				if w == 0 && i == each/2 {
					close(half)
				}
			}
		})
	}
	<-half
	c.crash(t, ctx)
	all.Wait()
	for key, balance := range want {
		if got := get(t, ctx, client, key); got != strconv.Itoa(balance) {
			t.Errorf("%s has %s instead of %d", key, got, balance)
		}
	}
	for name, level := range map[string]concurrency.Isolation{
		"snapshot": concurrency.SerializableSnapshot, "repeatable": concurrency.RepeatableReads, "committed": concurrency.ReadCommitted,
	} {
		if tries := conflicting(t, ctx, client, c.key+name, level); (tries > 1) != (level != concurrency.ReadCommitted) {
			t.Errorf("%s: a transaction whose read was overwritten was tried %d times", name, tries)
		}
	}
}

// conflicting is how often a transaction is tried whose key another client writes
// after it was read.
func conflicting(t *testing.T, ctx context.Context, client *clientv3.Client, key string, level concurrency.Isolation) (tries int) {
	t.Helper()
	_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
		tries++
		s.Get(key)
		if tries == 1 {
			if _, err := client.Put(ctx, key, "theirs"); err != nil {
				return err
			}
		}
		s.Put(key+"/copy", s.Get(key))
		return nil
	}, concurrency.WithAbortContext(ctx), concurrency.WithIsolation(level))
	must(t, err)
	return tries
}

// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"keelson.io/keelson/test/harness"
)

// A mirror has what was there, and then every change, over the loss of the leader.
func useMirror(t *testing.T, ctx context.Context, c *cluster) {
	const base, more = 1200, 50 // more than a page of the syncer, which is 1000
	client, copied := c.client(t), map[string]string{}
	for i := 0; i < base; i += 100 {
		var puts []clientv3.Op
		for j := range 100 {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("%s%04d", c.key, i+j), "old"))
		}
		_, err := client.Txn(ctx).Then(puts...).Commit()
		must(t, err)
	}
	syncer := mirror.NewSyncer(client, c.key, 0)
	pages, errs := syncer.SyncBase(ctx)
	for page := range pages {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	must(t, <-errs)
	if len(copied) != base {
		t.Fatalf("%d of %d keys", len(copied), base)
	}
	updates := syncer.SyncUpdates(ctx)
	change := func(i int) {
		key := fmt.Sprintf("%s%04d", c.key, i)
		retry(t, ctx, "put", func() error { _, err := client.Put(ctx, key, "new"); return err })
		retry(t, ctx, "delete", func() error { _, err := client.Delete(ctx, key+"0", clientv3.WithPrefix()); return err })
	}
	for i := range more {
		change(i)
	}
	c.crash(t, ctx)
	for i := range more {
		change(base - i) // one that is new among them
	}
	deleted, err := client.Delete(ctx, c.key+"00", clientv3.WithPrefix())
	must(t, err)
	for r := range updates {
		must(t, r.Err())
		for _, ev := range r.Events {
			if ev.Type == clientv3.EventTypeDelete {
				delete(copied, string(ev.Kv.Key))
			} else {
				copied[string(ev.Kv.Key)] = string(ev.Kv.Value)
			}
		}
		if r.Header.Revision >= deleted.Header.Revision && len(r.Events) > 0 && r.Events[len(r.Events)-1].Kv.ModRevision == deleted.Header.Revision {
			break
		}
	}
	all, err := client.Get(ctx, c.key, clientv3.WithPrefix())
	must(t, err)
	want := map[string]string{}
	for _, kv := range all.Kvs {
		want[string(kv.Key)] = string(kv.Value)
	}
	if !maps.Equal(copied, want) {
		t.Errorf("the mirror has %d keys, the source %d", len(copied), len(want))
	}
}

// What one client leases is read from its cache, until another writes it.
func useLeasing(t *testing.T, ctx context.Context, c *cluster) {
	open := func() clientv3.KV {
		kv, end, err := leasing.NewKV(c.client(t), c.key+"leases/")
		must(t, err)
		t.Cleanup(end)
		return kv
	}
	one, two := open(), open()
	key := c.key + "k"
	write := func(kv clientv3.KV, value string) {
		t.Helper()
		retry(t, ctx, "put", func() error { _, err := kv.Put(ctx, key, value); return err })
	}
	write(one, "first")
	if get(t, ctx, one, key) != "first" || get(t, ctx, two, key) != "first" {
		t.Error("the first value is not read")
	}
	for i := range 5 {
		value := fmt.Sprint("round ", i)
		write(two, value)
		if got := get(t, ctx, one, key); got != value {
			t.Errorf("%q after %q was written", got, value)
		}
	}
	if len(c.members) > 1 {
		c.crash(t, ctx)
	}
	write(two, "last")
	if got := get(t, ctx, one, key); got != "last" {
		t.Errorf("%q after the last was written", got)
	}
	txn, err := two.Txn(ctx).If(clientv3.Compare(clientv3.Value(key), "=", "last")).
		Then(clientv3.OpPut(key, "by a transaction"), clientv3.OpPut(key+"2", "too")).Else(clientv3.OpGet(key)).Commit()
	must(t, err)
	if !txn.Succeeded || get(t, ctx, one, key) != "by a transaction" {
		t.Error("a transaction left the cache as it was")
	}
	gone, err := two.Delete(ctx, key, clientv3.WithPrefix())
	must(t, err)
	if gone.Deleted != 2 || get(t, ctx, one, key) != "" {
		t.Errorf("%d were deleted, and %q is left", gone.Deleted, get(t, ctx, one, key))
	}
}

// Services find each other by names, and stop finding the one that is gone. The
// members' own health is the service.
func useNaming(t *testing.T, ctx context.Context, c *cluster) {
	client := c.client(t)
	manager, err := endpoints.NewManager(client, c.key+"service")
	must(t, err)
	changes, err := manager.NewWatchChannel(ctx)
	must(t, err)
	lost := c.leader(t, ctx)
	add := func(m *harness.Server, opts ...clientv3.OpOption) {
		t.Helper()
		retry(t, ctx, "add", func() error {
			return manager.AddEndpoint(ctx, c.key+"service/"+m.Name(), endpoints.Endpoint{Addr: m.Endpoint(), Metadata: m.Name()}, opts...)
		})
	}
	session := newSession(t, client)
	add(lost, clientv3.WithLease(session.Lease()))
	update := (<-changes)[0]
	if update.Op != endpoints.Add || update.Endpoint.Addr != lost.Endpoint() || update.Endpoint.Metadata != lost.Name() {
		t.Errorf("the first endpoint came as %+v", update)
	}
	builder, err := resolver.NewBuilder(client)
	must(t, err)
	conn, err := grpc.NewClient("etcd:///"+c.key+"service", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin":{}}]}`))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	check := func() {
		t.Helper()
		retry(t, ctx, "call", func() error {
			_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
			return err
		})
	}
	check()
	c.crash(t, ctx)
	for _, m := range c.members {
		if m != lost {
			add(m)
		}
	}
	check()
	must(t, session.Close())
	for update = (<-changes)[0]; update.Op != endpoints.Delete; update = (<-changes)[0] {
	}
	if update.Key != c.key+"service/"+lost.Name() {
		t.Errorf("%q is gone", update.Key)
	}
	left, err := manager.List(ctx)
	must(t, err)
	if len(left) != len(c.members)-1 {
		t.Errorf("left are %v", left)
	}
}

// Who has a namespace sees it as all there is.
func useNamespace(t *testing.T, ctx context.Context, c *cluster) {
	client := c.client(t)
	kv, watcher := namespace.NewKV(client.KV, c.key), namespace.NewWatcher(client.Watcher, c.key)
	leases := namespace.NewLease(client.Lease, c.key)
	granted, err := leases.Grant(ctx, 100)
	must(t, err)
	put, err := kv.Put(ctx, "a", "1", clientv3.WithLease(granted.ID))
	must(t, err)
	if get(t, ctx, client, c.key+"a") != "1" {
		t.Error("the key has no prefix")
	}
	c.crash(t, ctx)
	retry(t, ctx, "transaction", func() error {
		_, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("b", "2"), clientv3.OpGet("a")).Commit()
		return err
	})
	all, err := kv.Get(ctx, "", clientv3.WithFromKey())
	must(t, err)
	if len(all.Kvs) != 2 || string(all.Kvs[0].Key) != "a" || string(all.Kvs[1].Key) != "b" {
		t.Errorf("the namespace has %v", all.Kvs)
	}
	ttl, err := leases.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	must(t, err)
	if len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "a" {
		t.Errorf("the lease has %q", ttl.Keys)
	}
	r := <-watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(put.Header.Revision))
	must(t, r.Err())
	if key := string(r.Events[0].Kv.Key); key != "a" {
		t.Errorf("%q is watched", key)
	}
	gone, err := kv.Delete(ctx, "", clientv3.WithFromKey())
	must(t, err)
	if gone.Deleted != 2 {
		t.Errorf("%d were deleted", gone.Deleted)
	}
}

// Who has seen a revision is not shown an earlier one by a member that lags.
func useOrdering(t *testing.T, ctx context.Context, c *cluster) {
	client, key := c.client(t), c.key+"k"
	kv := ordering.NewKV(client.KV, ordering.NewOrderViolationSwitchEndpointClosure(client))
	for i := range 20 {
		value := fmt.Sprint(i)
		if i == 10 {
			c.crash(t, ctx)
		}
		retry(t, ctx, "put", func() error { _, err := client.Put(ctx, key, value); return err })
		retry(t, ctx, "get", func() error { _, err := kv.Get(ctx, key); return err })
		retry(t, ctx, "read what a member has", func() error {
			r, err := kv.Get(ctx, key, clientv3.WithSerializable())
			if err == nil && string(r.Kvs[0].Value) != value {
				t.Errorf("%q of the past is shown instead of %q", r.Kvs[0].Value, value)
			}
			return err
		})
	}
}

// A snapshot is a file of etcd's with what is there, and knows the server's version.
func useSnapshot(t *testing.T, ctx context.Context, c *cluster) {
	_, err := c.client(t).Put(ctx, c.key+"k", "v")
	must(t, err)
	member := c.leader(t, ctx)
	path := filepath.Join(t.TempDir(), "snapshot")
	config := clientv3.Config{Endpoints: []string{member.Endpoint()}, Logger: zap.NewNop()}
	for version := ""; version != "3.7.0"; { // a member notes it some seconds after its start
		version, err = snapshot.SaveWithVersion(ctx, zap.NewNop(), config, path)
		must(t, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v: %v", info, err)
	}
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true})
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("key")).Stats().KeyN == 0 {
			t.Error("the snapshot has no revisions")
		}
		return nil
	}))
	config.Endpoints = c.members.Endpoints()
	if len(c.members) > 1 {
		if _, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), config, path); err == nil {
			t.Error("several members were asked for one snapshot")
		}
	}
}

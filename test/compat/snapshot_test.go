// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// toolWithin ends a tool that hangs; a snapshot may have to be read several times.
const toolWithin = 60 * time.Second

// tool runs etcdctl or etcdutl and returns what it prints.
func tool(t *testing.T, path string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(harness.CleanEnviron(), "ETCDCTL_API=3")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", filepath.Base(path), args, err, out, &stderr)
	}
	return out
}

// saveSnapshot has an etcdctl save a snapshot of a server.
func saveSnapshot(t *testing.T, c client, s *harness.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), s.Kind().String()+".db")
	tool(t, c.path, "--endpoints="+s.Endpoint(), "snapshot", "save", path)
	return path
}

// snapshotStatus is what etcdutl prints of a snapshot, or etcdctl 3.4.
type snapshotStatus struct {
	Hash      uint32
	Revision  int64
	TotalKey  int
	TotalSize int64
	Version   string
}

func statusOf(t *testing.T, program, path string) (s snapshotStatus) {
	t.Helper()
	if err := json.Unmarshal(tool(t, program, "snapshot", "status", path, "-w", "json"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// fileHashKV is etcdutl's hash of a snapshot's history, up to a revision.
func fileHashKV(t *testing.T, path string, revision int64) (h struct {
	Hash                          uint32
	HashRevision, CompactRevision int64
}) {
	t.Helper()
	out := tool(t, harness.Build(t, harness.Etcdutl), "hashkv", path, "--rev", fmt.Sprint(revision), "-w", "json")
	if err := json.Unmarshal(out, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// content is all that a snapshot holds, by bucket and key. What depends on how often
// a member was elected before it was used is left out.
func content(t *testing.T, path string) map[string]string {
	t.Helper()
	db, err := bbolt.Open(path, 0o400, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]string{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			all[string(name)] = "bucket"
			return b.ForEach(func(k, v []byte) error {
				if s := string(k); string(name) != "meta" || s != "term" && s != "consistent_index" {
					all[fmt.Sprintf("%s/%q", name, k)] = string(v)
				}
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// twins are an etcd and the challenger, each alone in the same cluster as the same member.
func twins(t *testing.T) (etcd, other *harness.Server) {
	t.Helper()
	member := "http://127.0.0.1:" + fmt.Sprint(harness.FreePort(t))
	opts := harness.Options{Name: "node", Cluster: "node=" + member, Args: []string{
		"--log-level=error", "--initial-advertise-peer-urls=" + member, "--advertise-client-urls=" + member,
	}}
	return harness.Start(t, harness.Etcd, opts), harness.Start(t, challenger(), opts)
}

// history is what a server is put through before its snapshot is taken.
func history(t *testing.T, s *harness.Server) {
	t.Helper()
	c := s.Client(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v: %v", s.Kind(), err)
		}
	}
	ctx := t.Context()
	lease := func(id, ttl int64) {
		_, err := pb.NewLeaseClient(s.Conn(t)).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: ttl})
		must(nil, err)
	}
	for id := range int64(5) {
		lease(id+1, 1000*(id+1))
	}
	must(c.Revoke(ctx, 5))
	for i := range 100 {
		var opts []clientv3.OpOption
		if i%3 == 0 {
			opts = append(opts, clientv3.WithLease(clientv3.LeaseID(i%4+1)))
		}
		must(c.Put(ctx, fmt.Sprintf("key-%02d", i%40), fmt.Sprint("value ", i), opts...))
	}
	must(c.Put(ctx, "empty", ""))
	must(c.Put(ctx, "big", string(bytes.Repeat([]byte("0123456789"), 140_000))))
	must(c.Delete(ctx, "key-0", clientv3.WithPrefix()))
	deleted, err := c.Delete(ctx, "key-11")
	must(deleted, err)
	must(c.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical())) // at a tombstone
	must(c.Txn(ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpDelete("key-12"), clientv3.OpPut("b", "2"),
		clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("c", "3")}, nil)).Commit())
	must(c.Put(ctx, "key-11", "again", clientv3.WithLease(2)))
	must(c.Delete(ctx, "key-2", clientv3.WithPrefix()))
	users(t, c)
}

// users are a history of users and roles. Nobody has a password, whose hash would be another each time.
func users(t *testing.T, c *clientv3.Client) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	for _, role := range []string{"reader", "writer", "gone"} {
		must(c.RoleAdd(ctx, role))
	}
	must(c.RoleGrantPermission(ctx, "reader", "key-", clientv3.GetPrefixRangeEnd("key-"), clientv3.PermissionType(clientv3.PermRead)))
	must(c.RoleGrantPermission(ctx, "writer", "big", "", clientv3.PermissionType(clientv3.PermReadWrite)))
	must(c.RoleGrantPermission(ctx, "writer", "a", "\x00", clientv3.PermissionType(clientv3.PermWrite)))
	for _, user := range []string{"alice", "bob", "carol"} {
		must(c.UserAddWithOptions(ctx, user, "", &clientv3.UserAddOptions{NoPassword: true}))
		must(c.UserGrantRole(ctx, user, "writer"))
		must(c.UserGrantRole(ctx, user, "reader"))
		must(c.UserGrantRole(ctx, user, "gone"))
	}
	must(c.UserRevokeRole(ctx, "bob", "writer"))
	must(c.UserDelete(ctx, "carol"))
	must(c.RoleDelete(ctx, "gone"))
}

// TestSnapshotOfUsers has an etcd go on with who may do what.
func TestSnapshotOfUsers(t *testing.T) {
	server := harness.Start(t, challenger(), harness.Options{Args: []string{"--log-level=error"}})
	c, ctx := server.Client(t), t.Context()
	users(t, c)
	for _, err := range []error{
		second(c.RoleAdd(ctx, "root")), second(c.UserAdd(ctx, "root", "secret")), second(c.UserGrantRole(ctx, "root", "root")),
		second(c.UserAdd(ctx, "dave", "word")), second(c.UserGrantRole(ctx, "dave", "reader")), second(c.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	tool(t, etcdctl37(t).path, "--endpoints="+server.Endpoint(), "--user=root:secret", "snapshot", "save", path)
	etcd := restoredEtcd(t, path)
	for _, s := range []*harness.Server{server, etcd} {
		if out := string(asUser(t, s, "root:secret", "user", "list")); out != "alice\nbob\ndave\nroot\n" {
			t.Errorf("%v: the users are %q", s.Kind(), out)
		}
		asUser(t, s, "dave:word", "get", "key-1")
		if _, err := s.Client(t).Get(ctx, "key-1"); err == nil {
			t.Errorf("%v serves somebody without a name", s.Kind())
		}
	}
	want, got := asUser(t, server, "root:secret", "role", "get", "writer"), asUser(t, etcd, "root:secret", "role", "get", "writer")
	if !bytes.Equal(want, got) {
		t.Errorf("the role is %s, want %s", got, want)
	}
}

func second[T any](_ T, err error) error { return err }

// asUser runs an etcdctl command as a user.
func asUser(t *testing.T, s *harness.Server, user string, args ...string) []byte {
	t.Helper()
	return tool(t, etcdctl37(t).path, append([]string{"--endpoints=" + s.Endpoint(), "--user=" + user}, args...)...)
}

// restoredEtcd is an etcd that goes on with a snapshot.
func restoredEtcd(t *testing.T, path string) *harness.Server {
	t.Helper()
	etcd := harness.New(t, harness.Etcd, harness.Options{Args: []string{"--log-level=error"}})
	tool(t, harness.Build(t, harness.Etcdutl), "snapshot", "restore", path, "--data-dir="+etcd.DataDir(), "--name="+etcd.Name(),
		"--initial-cluster="+etcd.Name()+"="+etcd.PeerURL(), "--initial-advertise-peer-urls="+etcd.PeerURL())
	etcd.Restart()
	return etcd
}

// raiseAlarm makes a server refuse what grows it.
func raiseAlarm(t *testing.T, s *harness.Server) {
	t.Helper()
	raise := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(s.Conn(t)).Alarm(t.Context(), raise); err != nil {
		t.Fatalf("%v: %v", s.Kind(), err)
	}
}

// TestSnapshotHoldsWhatEtcdsHolds compares the snapshots of two servers with one
// history, key by key of all buckets.
func TestSnapshotHoldsWhatEtcdsHolds(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *harness.Server){
		"empty":   func(*testing.T, *harness.Server) {},
		"history": func(t *testing.T, s *harness.Server) { history(t, s); raiseAlarm(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			etcd, other := twins(t)
			for _, c := range []client{etcdctl37(t), etcdctl34(t)} {
				if c.version == "3.7" {
					use(t, etcd)
					use(t, other)
					// etcd notes its storage version when it next looks, after some seconds.
					awaitVersion(t, c, etcd)
				}
				wantPath, gotPath := saveSnapshot(t, c, etcd), saveSnapshot(t, c, other)
				want, got := content(t, wantPath), content(t, gotPath)
				for _, key := range slices.Sorted(maps.Keys(want)) {
					if v, ok := got[key]; !ok || v != want[key] {
						t.Errorf("etcdctl %s: %.100s is %.200q (%v), want %.200q", c.version, key, v, ok, want[key])
					}
					delete(got, key)
				}
				for key := range got {
					t.Errorf("etcdctl %s: %.100s is in no snapshot of etcd", c.version, key)
				}
				wantStatus, gotStatus := statusOf(t, harness.Build(t, harness.Etcdutl), wantPath), statusOf(t, harness.Build(t, harness.Etcdutl), gotPath)
				wantStatus.Hash, wantStatus.TotalSize = gotStatus.Hash, gotStatus.TotalSize // with all that content leaves out
				if gotStatus != wantStatus {
					t.Errorf("etcdctl %s: status %+v, want %+v", c.version, gotStatus, wantStatus)
				}
			}
		})
	}
}

// awaitVersion waits until a server's snapshots carry a storage version.
func awaitVersion(t *testing.T, c client, s *harness.Server) {
	t.Helper()
	for deadline := time.Now().Add(toolWithin); statusOf(t, harness.Build(t, harness.Etcdutl), saveSnapshot(t, c, s)).Version == ""; {
		if time.Now().After(deadline) {
			t.Fatalf("%v has no storage version", s.Kind())
		}
	}
}

// TestSnapshotIsRestoredByEtcd has the tools check and restore a snapshot of the
// challenger, and an etcd go on with it.
func TestSnapshotIsRestoredByEtcd(t *testing.T) {
	server := harness.Start(t, challenger(), harness.Options{Args: []string{"--log-level=error"}})
	history(t, server)
	utl, ctl := harness.Build(t, harness.Etcdutl), etcdctl37(t)
	path := saveSnapshot(t, ctl, server)
	status, err := server.Client(t).Status(t.Context(), server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, utl, path); got.Revision != status.Header.Revision || got.Version != "3.7.0" {
		t.Errorf("status %+v, want revision %d and version 3.7.0", got, status.Header.Revision)
	}

	wantEqualServers(t, server, restoredEtcd(t, path))
	// The hash of a file is computed anew, that of a server may be one that it has kept.
	file, kept := fileHashKV(t, path, 0), hashKV(t, server)
	if file.Hash != kept.Hash || file.CompactRevision != kept.CompactRevision || file.HashRevision != kept.HashRevision {
		t.Errorf("etcdutl hashkv says %+v of the file, the server %+v", file, kept)
	}

	old := etcdctl34(t)
	path = saveSnapshot(t, old, server)
	if got := statusOf(t, old.path, path); got.Revision != status.Header.Revision {
		t.Errorf("etcdctl 3.4: status %+v, want revision %d", got, status.Header.Revision)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	tool(t, old.path, "snapshot", "restore", path, "--data-dir="+dir)
	if restored := fileHashKV(t, filepath.Join(dir, "member", "snap", "db"), 0); restored != file {
		t.Errorf("etcdctl 3.4 has restored history %+v, want %+v", restored, file)
	}
}

func hashKV(t *testing.T, s *harness.Server) *pb.HashKVResponse {
	t.Helper()
	h, err := pb.NewMaintenanceClient(s.Conn(t)).HashKV(t.Context(), &pb.HashKVRequest{})
	if err != nil {
		t.Fatalf("%v: hash: %v", s.Kind(), err)
	}
	return h
}

// wantEqualServers compares keys, revisions, versions, leases and hashes.
func wantEqualServers(t *testing.T, a, b *harness.Server) {
	t.Helper()
	ctx, x, y := t.Context(), a.Client(t), b.Client(t)
	want, err := x.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	got, err := y.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Kvs) == 0 || len(got.Kvs) != len(want.Kvs) || got.Header.Revision != want.Header.Revision {
		t.Fatalf("%d keys at revision %d, want %d at %d", len(got.Kvs), got.Header.Revision, len(want.Kvs), want.Header.Revision)
	}
	for i, kv := range want.Kvs {
		if got.Kvs[i].String() != kv.String() {
			t.Errorf("%.200s, want %.200s", got.Kvs[i], kv)
		}
	}
	leases, err := x.Leases(ctx)
	if err != nil || len(leases.Leases) == 0 {
		t.Fatalf("leases %v: %v", leases, err)
	}
	for _, l := range leases.Leases {
		want, err := x.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		got, err := y.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		sortKeys := func(keys [][]byte) string { slices.SortFunc(keys, bytes.Compare); return fmt.Sprintf("%q", keys) }
		if got.GrantedTTL != want.GrantedTTL || sortKeys(got.Keys) != sortKeys(want.Keys) {
			t.Errorf("lease %v: %+v, want %+v", l.ID, got, want)
		}
	}
	p, q := hashKV(t, a), hashKV(t, b)
	if p.Hash != q.Hash || p.CompactRevision != q.CompactRevision || p.HashRevision != q.HashRevision {
		t.Errorf("hash %v, want %v", q, p)
	}
}

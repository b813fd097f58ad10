// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestKV(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)

	put, err := c.Put(ctx, "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if h := put.Header; h.Revision != 2 || h.ClusterId != n.clusterID || h.MemberId != n.memberID || h.RaftTerm == 0 {
		t.Fatalf("header %v", h)
	}
	for i := range 5 {
		if _, err := c.Put(ctx, fmt.Sprintf("p/%d", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Get(ctx, "p/", clientv3.WithPrefix(), clientv3.WithLimit(2))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 2 || got.Count != 5 || !got.More || got.Header.Revision != 7 {
		t.Fatalf("range %v", got)
	}
	txn, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision("a"), "=", 2)).
		Then(clientv3.OpPut("a", "2", clientv3.WithPrevKV()), clientv3.OpGet("a")).Commit()
	if err != nil {
		t.Fatal(err)
	}
	if !txn.Succeeded || txn.Header.Revision != 8 || string(txn.Responses[0].GetResponsePut().PrevKv.Value) != "1" ||
		string(txn.Responses[1].GetResponseRange().Kvs[0].Value) != "2" {
		t.Fatalf("txn %v", txn)
	}
	read, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), ">", 1)).
		Then(clientv3.OpGet("a")).Else(clientv3.OpGet("p/0")).Commit()
	if err != nil || !read.Succeeded || string(read.Responses[0].GetResponseRange().Kvs[0].Value) != "2" {
		t.Fatalf("read-only txn %v, %v", read, err)
	}
	del, err := c.Delete(ctx, "p/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 5 || len(del.PrevKvs) != 5 || del.Header.Revision != 9 {
		t.Fatalf("delete %v, %v", del, err)
	}
	compact, err := c.Compact(ctx, 8, clientv3.WithCompactPhysical())
	if err != nil || compact.Header.Revision != 9 {
		t.Fatalf("compact %v, %v", compact, err)
	}
	for _, tc := range []struct {
		do   func() error
		want error
	}{
		{func() error { _, err := c.Get(ctx, "a", clientv3.WithRev(3)); return err }, rpctypes.ErrCompacted},
		{func() error { _, err := c.Get(ctx, "a", clientv3.WithRev(99)); return err }, rpctypes.ErrFutureRev},
		{func() error { _, err := c.Compact(ctx, 4); return err }, rpctypes.ErrCompacted},
		{func() error { _, err := c.Compact(ctx, 99); return err }, rpctypes.ErrFutureRev},
		{func() error { _, err := c.Put(ctx, "", ""); return err }, rpctypes.ErrEmptyKey},
		{func() error { _, err := c.Put(ctx, "new", "", clientv3.WithIgnoreValue()); return err }, rpctypes.ErrKeyNotFound},
		{func() error { _, err := c.Put(ctx, "new", "", clientv3.WithLease(42)); return err }, rpctypes.ErrLeaseNotFound},
		{func() error { _, err := c.Put(ctx, "big", strings.Repeat("x", 1600<<10)); return err }, rpctypes.ErrRequestTooLarge},
	} {
		if err := tc.do(); !errors.Is(err, tc.want) {
			t.Errorf("got %v, want %v", err, tc.want)
		}
	}
	if _, err := c.Put(ctx, "big", strings.Repeat("x", 2200<<10)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message over gRPC's limit: %v", err)
	}
}

func TestRangeStream(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{MaxRequestBytes: 64 << 10})
	c, ctx := n.client(), testContext(t)
	for i := range 100 {
		if _, err := c.Put(ctx, fmt.Sprintf("k/%03d", i), strings.Repeat("v", 4<<10)); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := pb.NewKVClient(c.ActiveConnection()).RangeStream(ctx, &pb.RangeRequest{
		Key: []byte("k/"), RangeEnd: []byte("k0"), Limit: 90,
	})
	if err != nil {
		t.Fatal(err)
	}
	var kvs []*mvccpb.KeyValue
	var last *pb.RangeResponse
	chunks := 0
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && (last.Header != nil || last.Count != 0 || last.More) {
			t.Fatalf("chunk %d says more than keys: %v", chunks, last.Header)
		}
		last = m.RangeResponse
		kvs = append(kvs, last.Kvs...)
		chunks++
	}
	if len(kvs) != 90 || chunks < 3 || last.Count != 100 || !last.More || last.Header.Revision != 101 ||
		last.Header.MemberId != n.memberID {
		t.Fatalf("%d keys in %d chunks, last %v", len(kvs), chunks, last.Header)
	}
	bad, err := pb.NewKVClient(c.ActiveConnection()).RangeStream(ctx, &pb.RangeRequest{
		Key: []byte("k/"), SortOrder: pb.RangeRequest_DESCEND,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Recv(); status.Code(err) != codes.Unimplemented {
		t.Fatalf("sorted stream: %v", err)
	}
}

func TestLease(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)

	granted, err := c.Grant(ctx, 1)
	if err != nil || granted.TTL != 2 || granted.ID <= 0 {
		t.Fatalf("grant %v, %v", granted, err)
	}
	if _, err := c.Put(ctx, "leased", "x", clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	long, err := c.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(long.ID), TTL: 5}); status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("second grant of an id: %v", err)
	}
	ttl, err := c.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil || ttl.GrantedTTL != 2 || len(ttl.Keys) != 1 || string(ttl.Keys[0]) != "leased" {
		t.Fatalf("time to live %v, %v", ttl, err)
	}
	if kept, err := c.KeepAliveOnce(ctx, long.ID); err != nil || kept.TTL != 1000 {
		t.Fatalf("keep alive %v, %v", kept, err)
	}
	if _, err := c.KeepAliveOnce(ctx, 4711); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("keep alive of no lease: %v", err)
	}
	leases, err := c.Leases(ctx)
	if err != nil || len(leases.Leases) != 2 || leases.Leases[0].ID != granted.ID {
		t.Fatalf("leases %v, %v", leases, err)
	}
	eventually(t, "expiry deletes the key", func() bool {
		got, err := c.Get(ctx, "leased")
		return err == nil && got.Count == 0
	})
	if ttl, err := c.TimeToLive(ctx, granted.ID); err != nil || ttl.TTL != -1 {
		t.Fatalf("time to live of an expired lease %v, %v", ttl, err)
	}
	if _, err := c.Revoke(ctx, long.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Revoke(ctx, long.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("second revocation: %v", err)
	}
}

func TestMaintenanceAndCluster(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c, ctx := n.client(), testContext(t)
	if _, err := c.Put(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a cluster version", func() bool { return n.store.ClusterVersion() == "3.7.0" })
	st, err := c.Status(ctx, n.addr)
	if err != nil || st.Version != "3.7.3" || st.Leader != n.memberID || st.RaftAppliedIndex == 0 || st.DbSize == 0 ||
		st.StorageVersion != "3.7.0" || st.DbSizeQuota != 2<<30 || len(st.Errors) != 0 {
		t.Fatalf("status %v, %v", st, err)
	}
	members, err := c.MemberList(ctx)
	if err != nil || len(members.Members) != 1 {
		t.Fatalf("members %v, %v", members, err)
	}
	if m := members.Members[0]; m.ID != n.memberID || m.Name != "test" || m.PeerURLs[0] != "http://127.0.0.1:2380" ||
		m.ClientURLs[0] != "http://127.0.0.1:2379" {
		t.Fatalf("member %v", m)
	}
	if h, err := c.HashKV(ctx, n.addr, 0); err != nil || h.HashRevision != 2 || h.Hash == 0 {
		t.Fatalf("hashkv %v, %v", h, err)
	}
	if _, err := c.Defragment(ctx, n.addr); err != nil {
		t.Fatal(err)
	}
	alarm := &pb.AlarmRequest{MemberID: n.memberID, Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE}
	if _, err := pb.NewMaintenanceClient(c.ActiveConnection()).Alarm(ctx, alarm); err != nil {
		t.Fatal(err)
	}
	if list, err := c.AlarmList(ctx); err != nil || len(list.Alarms) != 1 {
		t.Fatalf("alarms %v, %v", list, err)
	}
	if _, err := c.Put(ctx, "a", "c"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("put under an alarm: %v", err)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(ctx, "a", "c"); err != nil {
		t.Fatal(err)
	}
	check, err := healthpb.NewHealthClient(c.ActiveConnection()).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil || check.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("grpc health %v, %v", check, err)
	}
	watch, err := healthpb.NewHealthClient(c.ActiveConnection()).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("grpc health watch %v, %v", r, err)
	}
	start := time.Now()
	n.close() // ends the watch
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

func TestQuota(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{QuotaBackendBytes: 256 << 10})
	c, ctx := n.client(), testContext(t)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		_, err = c.Put(ctx, fmt.Sprintf("k%d", i), strings.Repeat("x", 16<<10))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("a full store says %v", err)
	}
	eventually(t, "the alarm", func() bool {
		list, err := c.AlarmList(ctx)
		return err == nil && len(list.Alarms) == 1 && list.Alarms[0].Alarm == pb.AlarmType_NOSPACE
	})
	if _, err := c.Get(ctx, "k0"); err != nil {
		t.Fatalf("read under the alarm: %v", err)
	}
	if _, err := c.Delete(ctx, "k0"); err != nil {
		t.Fatalf("delete under the alarm: %v", err)
	}
	body, code := get(t, "http://"+n.addr+"/health")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "ALARM NOSPACE") {
		t.Fatalf("health %d %s", code, body)
	}
	if body, code := get(t, "http://"+n.addr+"/health?exclude=NOSPACE"); code != http.StatusOK {
		t.Fatalf("health without the alarm %d %s", code, body)
	}
}

func get(t *testing.T, url string) (string, int) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), resp.StatusCode
}

func TestHTTP(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	eventually(t, "a cluster version", func() bool { return n.store.ClusterVersion() != "" })
	base := "http://" + n.addr
	for _, tc := range []struct {
		path, want string
		code       int
	}{
		{"/health", `{"health":"true","reason":""}`, 200},
		{"/health?serializable=true", `{"health":"true","reason":""}`, 200},
		{"/livez", "ok\n", 200},
		{"/livez?verbose", "[+]serializable_read ok\nok\n", 200},
		{"/livez/serializable_read", "ok\n", 200},
		{"/readyz", "ok\n", 200},
		{"/readyz?exclude=linearizable_read&verbose", "[+]data_corruption ok\n[+]serializable_read ok\n[+]non_learner ok\nok\n", 200},
		{"/readyz/data_corruption?verbose", "[+]data_corruption ok\nok\n", 200},
		{"/readyz/linearizable_read", "ok\n", 200},
		{"/readyz/none", "404 page not found\n", 404},
		{"/version", `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`, 200},
		{"/", "404 page not found\n", 404},
	} {
		if body, code := get(t, base+tc.path); body != tc.want || code != tc.code {
			t.Errorf("%s: %d %q, want %d %q", tc.path, code, body, tc.code, tc.want)
		}
	}
	resp, err := http.Post(base+"/health", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
		t.Errorf("POST /health: %d", resp.StatusCode)
	}
	metrics, _ := get(t, base+"/metrics")
	for _, name := range []string{
		"etcd_server_request_duration_seconds", "grpc_server_started_total", "etcd_network_client_grpc_sent_bytes_total",
		"etcd_server_health_success", "etcd_cluster_version", "etcd_network_known_peers", "etcd_server_quota_backend_bytes", "process_open_fds",
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestMetricsListener(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- n.ServeMetrics(l) }()
	if body, code := get(t, "http://"+l.Addr().String()+"/readyz"); code != 200 {
		t.Errorf("readyz %d %s", code, body)
	}
	if _, code := get(t, "http://"+l.Addr().String()+"/metrics"); code != 200 {
		t.Errorf("metrics %d", code)
	}
	n.close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRestartKeepsWhatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir, Options{})
	c, ctx := n.client(), testContext(t)
	lease, err := c.Grant(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	put, err := c.Put(ctx, "a", "1", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	id := n.memberID
	n.close()

	n = startNode(t, dir, Options{})
	c = n.client()
	got, err := c.Get(ctx, "a")
	if err != nil || got.Header.Revision != put.Header.Revision || string(got.Kvs[0].Value) != "1" || got.Header.MemberId != id {
		t.Fatalf("after a restart %v, %v", got, err)
	}
	if kept, err := c.KeepAliveOnce(ctx, lease.ID); err != nil || kept.TTL != 1000 {
		t.Fatalf("keep alive %v, %v", kept, err)
	}
	if ttl, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()); err != nil || len(ttl.Keys) != 1 {
		t.Fatalf("time to live %v, %v", ttl, err)
	}
}

func TestGarbageOnThePort(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{FirstBytesTimeout: 200 * time.Millisecond})
	for _, garbage := range []string{
		"\x00\x01\x02\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", "GET", "\r\n\r\n\r\n", "",
		strings.Repeat("A", 1<<20), "PRI * HT",
	} {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(garbage)) // the server may have hung up already
		_ = conn.(*net.TCPConn).CloseWrite()
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("%.10q: the connection stays open", garbage)
		}
		_ = conn.Close()
	}
	if _, err := n.client().Put(testContext(t), "a", "b"); err != nil {
		t.Fatal(err)
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func TestRequireLeader(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	ctx := clientv3.WithRequireLeader(testContext(t))
	c := n.client()
	if _, err := c.Put(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	w := c.Watch(ctx, "a", clientv3.WithRev(2))
	if resp := <-w; resp.Err() != nil || len(resp.Events) != 1 {
		t.Fatalf("watch %v", resp)
	}
}

func TestHealthAnswersAreJSON(t *testing.T) {
	data, err := json.Marshal(healthAnswer{Health: "false", Reason: "RAFT NO LEADER"})
	if err != nil || string(data) != `{"health":"false","reason":"RAFT NO LEADER"}` {
		t.Fatalf("%s, %v", data, err)
	}
}

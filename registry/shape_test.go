// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// recorder is a KV service that keeps the last request and answers none.
type recorder struct {
	pb.KVClient
	last proto.Message
}

var errRecorded = errors.New("recorded")

func (r *recorder) Range(_ context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	r.last = in
	return nil, errRecorded
}

func (r *recorder) Txn(_ context.Context, in *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	r.last = in
	return nil, errRecorded
}

func (r *recorder) Put(_ context.Context, in *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	r.last = in
	return nil, errRecorded
}

func (r *recorder) Compact(_ context.Context, in *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	r.last = in
	return nil, errRecorded
}

// TestClassifyClientCalls classifies what etcd's client makes of the calls of kube-apiserver's storage.
func TestClassifyClientCalls(t *testing.T) {
	const key, prefix = "/registry/pods/default/web", "/registry/pods/"
	ctx := context.Background()
	optimisticPut := func(rev int64, opts kubernetes.PutOptions) func(*kubernetes.Client) {
		return func(c *kubernetes.Client) { c.OptimisticPut(ctx, key, []byte("v"), rev, opts) }
	}
	list := func(opts kubernetes.ListOptions) func(*kubernetes.Client) {
		return func(c *kubernetes.Client) { c.List(ctx, prefix, opts) }
	}
	get := func(key string, opts ...clientv3.OpOption) func(*kubernetes.Client) {
		return func(c *kubernetes.Client) { c.KV.Get(ctx, key, opts...) }
	}
	txn := func(cmp clientv3.Cmp, then []clientv3.Op, or ...clientv3.Op) func(*kubernetes.Client) {
		return func(c *kubernetes.Client) { c.KV.Txn(ctx).If(cmp).Then(then...).Else(or...).Commit() }
	}
	modRevision := clientv3.Compare(clientv3.ModRevision(key), "=", 5)
	put := []clientv3.Op{clientv3.OpPut(key, "v")}
	for _, c := range []struct {
		name string
		call func(*kubernetes.Client)
		want Shape
	}{
		{"create", optimisticPut(0, kubernetes.PutOptions{}), ShapeCreate},
		{"create with a lease", optimisticPut(0, kubernetes.PutOptions{LeaseID: 7}), ShapeCreate},
		{"create or read", optimisticPut(0, kubernetes.PutOptions{GetOnFailure: true}), ShapeCreate},
		{"update", optimisticPut(5, kubernetes.PutOptions{GetOnFailure: true}), ShapeUpdate},
		{"delete", func(c *kubernetes.Client) {
			c.OptimisticDelete(ctx, key, 5, kubernetes.DeleteOptions{GetOnFailure: true})
		}, ShapeDelete},
		{"get", func(c *kubernetes.Client) { c.Kubernetes.Get(ctx, key, kubernetes.GetOptions{Revision: 5}) }, ShapeGet},
		{"health", get("/registry/health"), ShapeGet},
		{"list", list(kubernetes.ListOptions{}), ShapeList},
		{"first page", list(kubernetes.ListOptions{Limit: 500}), ShapeList},
		{"later page", list(kubernetes.ListOptions{Limit: 500, Revision: 9, Continue: key + "\x00"}), ShapeList},
		{"keys", get(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly()), ShapeKeys},
		{"count", func(c *kubernetes.Client) { c.Count(ctx, prefix, kubernetes.CountOptions{}) }, ShapeCount},
		{"compaction record", txn(clientv3.Compare(clientv3.Version("compact_rev_key"), "=", 3),
			[]clientv3.Op{clientv3.OpPut("compact_rev_key", "100")}, clientv3.OpGet("compact_rev_key")), ShapeCompactRecord},
		{"compact", func(c *kubernetes.Client) { c.KV.Compact(ctx, 100) }, ShapeCompact},

		{"plain put", func(c *kubernetes.Client) { c.KV.Put(ctx, key, "v") }, ShapeUnknown},
		{"serializable", get(key, clientv3.WithSerializable()), ShapeUnknown},
		{"sorted", get(prefix, clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend)), ShapeUnknown},
		{"everything", get("", clientv3.WithFromKey()), ShapeUnknown},
		{"a range that is no prefix", get("/registry/a", clientv3.WithRange("/registry/x/y")), ShapeUnknown},
		{"count of a part", get(key, clientv3.WithRange("/registry/pods0"), clientv3.WithCountOnly()), ShapeUnknown},
		{"minimum revision", get(prefix, clientv3.WithPrefix(), clientv3.WithMinModRev(3)), ShapeUnknown},
		{"update without a read", txn(modRevision, put), ShapeUnknown},
		{"update of another key", txn(modRevision, []clientv3.Op{clientv3.OpPut("b", "v")}, clientv3.OpGet(key)), ShapeUnknown},
		{"failure reads another key", txn(modRevision, put, clientv3.OpGet("b")), ShapeUnknown},
		{"failure writes", txn(modRevision, put, put...), ShapeUnknown},
		{"two puts", txn(modRevision, append(put, clientv3.OpPut("b", "v")), clientv3.OpGet(key)), ShapeUnknown},
		{"put with prev_kv", txn(modRevision, []clientv3.Op{clientv3.OpPut(key, "v", clientv3.WithPrevKV())},
			clientv3.OpGet(key)), ShapeUnknown},
		{"greater", txn(clientv3.Compare(clientv3.ModRevision(key), ">", 5), put, clientv3.OpGet(key)), ShapeUnknown},
		{"by value", txn(clientv3.Compare(clientv3.Value(key), "=", "x"), put, clientv3.OpGet(key)), ShapeUnknown},
		{"by version", txn(clientv3.Compare(clientv3.Version(key), "=", 1), put, clientv3.OpGet(key)), ShapeUnknown},
		{"physical compaction", func(c *kubernetes.Client) { c.KV.Compact(ctx, 100, clientv3.WithCompactPhysical()) }, ShapeUnknown},
	} {
		var r recorder
		etcd := clientv3.NewCtxClient(ctx)
		etcd.KV = clientv3.NewKVFromKVClient(&r, etcd)
		client := &kubernetes.Client{Client: etcd}
		client.Kubernetes = client
		c.call(client)
		if r.last == nil {
			t.Errorf("%s: no request", c.name)
			continue
		}
		if got := Classify(r.last); got != c.want {
			t.Errorf("%s: %v, want %v: %v", c.name, got, c.want, r.last)
		}
	}
}

func TestClassifyOthers(t *testing.T) {
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	prefix, end := []byte("/registry/pods/"), []byte("/registry/pods0")
	for name, c := range map[string]struct {
		req  proto.Message
		want Shape
	}{
		"watch of a resource": {create(&pb.WatchCreateRequest{
			Key: prefix, RangeEnd: end, StartRevision: 9, PrevKv: true, ProgressNotify: true}), ShapeWatch},
		"watch of a key":      {create(&pb.WatchCreateRequest{Key: []byte("compact_rev_key"), StartRevision: 9}), ShapeWatch},
		"watch of everything": {create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}}), ShapeUnknown},
		"filtered watch": {create(&pb.WatchCreateRequest{Key: prefix, RangeEnd: end,
			Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}), ShapeUnknown},
		"progress": {&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{
			ProgressRequest: &pb.WatchProgressRequest{}}}, ShapeProgress},
		"watch cancel": {&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{
			CancelRequest: &pb.WatchCancelRequest{}}}, ShapeUnknown},
		"empty watch":         {&pb.WatchRequest{}, ShapeUnknown},
		"lease grant":         {&pb.LeaseGrantRequest{TTL: 3660}, ShapeLeaseGrant},
		"lease with an id":    {&pb.LeaseGrantRequest{TTL: 3660, ID: 5}, ShapeUnknown},
		"empty range":         {&pb.RangeRequest{}, ShapeUnknown},
		"empty txn":           {&pb.TxnRequest{}, ShapeUnknown},
		"txn of empty parts":  {&pb.TxnRequest{Compare: []*pb.Compare{{}}, Success: []*pb.RequestOp{{}}}, ShapeUnknown},
		"compaction to none":  {&pb.CompactionRequest{}, ShapeUnknown},
		"something else":      {&pb.StatusRequest{}, ShapeUnknown},
		"no request":          {nil, ShapeUnknown},
		"range to the end":    {&pb.RangeRequest{Key: prefix, RangeEnd: []byte{0}}, ShapeUnknown},
		"range of 0xff":       {&pb.RangeRequest{Key: []byte{0xff}, RangeEnd: []byte{0}}, ShapeUnknown},
		"get of several keys": {&pb.RangeRequest{Key: prefix, Limit: 2}, ShapeUnknown},
	} {
		if got := Classify(c.req); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestShapeNames(t *testing.T) {
	seen := map[string]Shape{}
	for s := ShapeUnknown; s <= ShapeCompact; s++ {
		if other, ok := seen[s.String()]; ok || s.String() == "" {
			t.Errorf("shapes %d and %d are both called %q", s, other, s)
		}
		seen[s.String()] = s
	}
	if got := (ShapeCompact + 1).String(); got != "unknown" {
		t.Errorf("no shape is called %q", got)
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	req := &pb.RangeRequest{Key: []byte("/registry/pods/"), RangeEnd: []byte("/registry/pods0"), Limit: 500}
	if n := testing.AllocsPerRun(100, func() { Classify(req) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/sqlstore"
	"keelson.io/keelson/test/model"
)

// What a request in the data of FuzzKeySpace is.
const (
	fuzzPut = iota
	fuzzDelete
	fuzzRange
	fuzzTxn
	fuzzCompact
	fuzzWatch
	fuzzKinds
)

// FuzzKeySpace has a store and the model answer any requests. Each is its kind and its message with its length.
func FuzzKeySpace(f *testing.F) {
	for _, script := range fuzzScripts() {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k := &keySpace{t: t, machine: newMachine(t, t.TempDir()), model: model.NewStore()}
		for len(data) > 1 {
			kind := data[0] % fuzzKinds
			message, n := protowire.ConsumeBytes(data[1:])
			if n < 0 {
				return
			}
			data = data[1+n:]
			k.ask(kind, message)
		}
		got, err := k.machine.store.HashKV(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		want, err := k.model.HashKV(&pb.HashKVRequest{})
		if err != nil || got.Hash != want.Hash {
			t.Fatalf("hash %d, the model's is %d (%v)", got.Hash, want.Hash, err)
		}
	})
}

// keySpace is a store and its model.
type keySpace struct {
	t       *testing.T
	machine *StateMachine
	model   *model.Store
	index   uint64
}

// apply applies a request that passed its check as an entry.
func (k *keySpace) apply(check error, r *pb.InternalRaftRequest) (any, error) {
	if check != nil {
		return nil, check
	}
	k.index++
	results := k.machine.Apply([]raftlog.Entry{entry(k.t, k.index, r)})
	if err := k.machine.Err(); err != nil {
		k.t.Fatal(err)
	}
	outcome := results[0].Value.(*sqlstore.Outcome)
	return outcome.Response, outcome.Err
}

// ask decodes a request, asks the store and the model, and compares.
func (k *keySpace) ask(kind byte, message []byte) {
	switch kind {
	case fuzzPut:
		r := new(pb.PutRequest)
		if proto.Unmarshal(message, r) == nil {
			got, err := k.apply(checkPut(r), &pb.InternalRaftRequest{Put: r})
			compare(k, r, new(pb.PutResponse), got, err, k.model.Put)
		}
	case fuzzDelete:
		r := new(pb.DeleteRangeRequest)
		if proto.Unmarshal(message, r) == nil {
			got, err := k.apply(checkDeleteRange(r), &pb.InternalRaftRequest{DeleteRange: r})
			compare(k, r, new(pb.DeleteRangeResponse), got, err, k.model.DeleteRange)
		}
	case fuzzRange:
		r := new(pb.RangeRequest)
		if proto.Unmarshal(message, r) == nil {
			var got any
			err := checkRange(r)
			if err == nil {
				got, err = k.machine.store.Range(k.t.Context(), r)
			}
			compare(k, r, new(pb.RangeResponse), got, err, k.model.Range)
		}
	case fuzzTxn:
		r := new(pb.TxnRequest)
		if proto.Unmarshal(message, r) == nil {
			got, err := k.txn(r)
			compare(k, r, new(pb.TxnResponse), got, err, k.model.Txn)
		}
	case fuzzCompact:
		r := new(pb.CompactionRequest)
		if proto.Unmarshal(message, r) == nil {
			_, err := k.apply(nil, &pb.InternalRaftRequest{Compaction: r})
			_, want := k.model.Compact(r)
			k.sameError(r, err, want)
		}
	case fuzzWatch:
		r := new(pb.WatchCreateRequest)
		if proto.Unmarshal(message, r) == nil {
			k.watch(r)
		}
	}
}

func (k *keySpace) txn(r *pb.TxnRequest) (any, error) {
	if err := checkTxn(r, model.MaxTxnOps); err != nil {
		return nil, err
	}
	if err := checkDuplicates(r); err != nil {
		return nil, err
	}
	if readOnly(r) {
		return k.machine.store.ReadTxn(k.t.Context(), r)
	}
	return k.apply(nil, &pb.InternalRaftRequest{Txn: r})
}

func (k *keySpace) sameError(r proto.Message, got, want error) {
	k.t.Helper()
	if got != nil {
		got = grpcError(got)
	}
	g, w := status.Convert(got), status.Convert(want)
	if g.Code() != w.Code() || g.Message() != w.Message() {
		k.t.Fatalf("%T %v: error %v, the model's is %v", r, r, got, want)
	}
}

// compare holds the store's answer against the model's.
func compare[Req, Resp proto.Message](k *keySpace, r Req, decoded Resp, got any, err error, ask func(Req) (Resp, error)) {
	k.t.Helper()
	want, wantErr := ask(r)
	k.sameError(r, err, wantErr)
	if err != nil {
		return
	}
	response := got.(interface{ AppendTo([]byte) []byte })
	if err := proto.Unmarshal(response.AppendTo(nil), decoded); err != nil {
		k.t.Fatal(err)
	}
	if !proto.Equal(decoded, want) {
		k.t.Fatalf("%T %v at %d:\ngot  %v\nwant %v", r, r, k.model.Revision(), decoded, want)
	}
}

// watch opens a watch on a stream of its own and wants the model's answer and events.
func (k *keySpace) watch(r *pb.WatchCreateRequest) {
	ctx := testContext(k.t)
	want, watch := k.model.NewWatchStream().Create(r)
	stream := k.machine.store.NewWatchStream()
	defer stream.Close()
	request, err := watchRequest(r)
	if err == nil {
		_, err = stream.Watch(ctx, request)
	}
	if reason := ""; err != nil || want.Canceled {
		if err != nil {
			reason = watchCancelReason(err)
		}
		if reason != want.CancelReason {
			k.t.Fatalf("%v: refused with %q, by the model with %q", r, reason, want.CancelReason)
		}
		return
	}
	var events []*mvccpb.Event
	for created := false; !created || len(events) < len(watch.Events) || watch.Compacted != 0; {
		batch, err := stream.Next(ctx)
		if err != nil {
			k.t.Fatalf("%v: %d events of %d: %v", r, len(events), len(watch.Events), err)
		}
		switch batch.Kind {
		case sqlstore.BatchCreated:
			created = true
		case sqlstore.BatchCompacted:
			if batch.CompactRevision != watch.Compacted {
				k.t.Fatalf("%v: compacted at %d, the model's at %d", r, batch.CompactRevision, watch.Compacted)
			}
			return
		}
		for _, data := range batch.Events {
			event := new(mvccpb.Event)
			if err := proto.Unmarshal(data, event); err != nil {
				k.t.Fatal(err)
			}
			events = append(events, event)
		}
	}
	same := slices.EqualFunc(events, watch.Events, func(a, b *mvccpb.Event) bool { return proto.Equal(a, b) })
	if !same {
		k.t.Fatalf("%v:\ngot  %v\nwant %v", r, events, watch.Events)
	}
}

// fuzzScripts are requests of every kind, with values at their limits.
func fuzzScripts() [][]byte {
	type request struct {
		kind    byte
		message proto.Message
	}
	a, b := []byte("a"), []byte("b")
	op := func(r *pb.PutRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
	}
	remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: a, RangeEnd: []byte{0}, PrevKv: true}}}
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: a, RangeEnd: []byte{0}, Limit: 1, SortOrder: 2}}}
	txn := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: a, Result: pb.Compare_GREATER, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 0}}},
		Success: []*pb.RequestOp{op(&pb.PutRequest{Key: b, PrevKv: true}), read},
		Failure: []*pb.RequestOp{remove, op(&pb.PutRequest{Key: a})},
	}
	nested := &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}, read}}
	all := []request{
		{fuzzPut, &pb.PutRequest{Key: a, Value: b}}, {fuzzPut, &pb.PutRequest{Key: b, Value: a, PrevKv: true}},
		{fuzzPut, &pb.PutRequest{Key: a, IgnoreValue: true, Lease: 7}}, {fuzzTxn, txn}, {fuzzTxn, nested},
		{fuzzRange, &pb.RangeRequest{Key: a, RangeEnd: []byte{0}, SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_DESCEND, Limit: 1}},
		{fuzzRange, &pb.RangeRequest{Key: a, Revision: math.MinInt64, MaxModRevision: -1, Limit: math.MaxInt64, KeysOnly: true}},
		{fuzzRange, &pb.RangeRequest{Key: a, RangeEnd: b, Revision: math.MaxInt64, CountOnly: true, Limit: math.MinInt64}},
		{fuzzWatch, &pb.WatchCreateRequest{Key: a, RangeEnd: []byte{0}, StartRevision: 1, PrevKv: true}},
		{fuzzWatch, &pb.WatchCreateRequest{Key: a, StartRevision: math.MaxInt64, WatchId: math.MinInt64}},
		{fuzzWatch, &pb.WatchCreateRequest{Key: b, RangeEnd: a, StartRevision: math.MinInt64}},
		{fuzzWatch, &pb.WatchCreateRequest{StartRevision: 2, RangeEnd: []byte{0}, Filters: []pb.WatchCreateRequest_FilterType{0, 1, 9}}},
		{fuzzDelete, &pb.DeleteRangeRequest{Key: a, RangeEnd: b, PrevKv: true}}, {fuzzCompact, &pb.CompactionRequest{Revision: 4}},
		{fuzzWatch, &pb.WatchCreateRequest{Key: a, RangeEnd: []byte{0}, StartRevision: 2}},
		{fuzzWatch, &pb.WatchCreateRequest{Key: a, RangeEnd: []byte{0}, StartRevision: 4, PrevKv: true}},
		{fuzzCompact, &pb.CompactionRequest{Revision: math.MaxInt64}}, {fuzzCompact, &pb.CompactionRequest{Revision: math.MinInt64}},
		{fuzzRange, &pb.RangeRequest{Key: a, RangeEnd: []byte{0}, Revision: 3}},
	}
	var scripts [][]byte
	var whole []byte
	for _, r := range all {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.message)
		if err != nil {
			panic(err) // none of them is wrong
		}
		whole = protowire.AppendBytes(append(whole, r.kind), data)
		scripts = append(scripts, bytes.Clone(whole))
	}
	return scripts
}

// FuzzEntry has two state machines apply any bytes as entries, the second one entry at a time: both are the same
// afterwards, and so is one that is opened again.
func FuzzEntry(f *testing.F) {
	for _, r := range []*pb.InternalRaftRequest{
		{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: math.MaxUint64, Alarm: 77}},
		{ClusterVersionSet: &membershippb.ClusterVersionSetRequest{Ver: "3.7"}},
		{ClusterMemberAttrSet: &membershippb.ClusterMemberAttrSetRequest{Member_ID: 1, MemberAttributes: &membershippb.Attributes{Name: "\x00"}}},
		{DowngradeInfoSet: &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "x"}},
		{LeaseGrant: &pb.LeaseGrantRequest{ID: -1, TTL: math.MinInt64}}, {LeaseRevoke: &pb.LeaseRevokeRequest{ID: -1}},
		{LeaseCheckpoint: &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: -1, Remaining_TTL: math.MaxInt64}, {}}}},
		{Put: &pb.PutRequest{Lease: -1}}, {Txn: &pb.TxnRequest{Success: []*pb.RequestOp{{}}}}, {Compaction: &pb.CompactionRequest{Revision: -1}},
		{AuthUserAdd: &pb.AuthUserAddRequest{Name: "u", HashedPassword: "x"}}, {AuthEnable: &pb.AuthEnableRequest{}},
		{Authenticate: &pb.InternalAuthenticateRequest{Name: "u"}}, {AuthRoleAdd: &pb.AuthRoleAddRequest{}},
		{AuthRoleGrantPermission: &pb.AuthRoleGrantPermissionRequest{}}, {DowngradeVersionTest: &pb.DowngradeVersionTestRequest{}}, {},
	} {
		data, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		entries := []raftlog.Entry{{Index: 1, Term: 1, Data: first}, {Index: 2, Term: 1, Data: second}}
		dir := t.TempDir()
		together := newMachine(t, dir)
		together.Apply(entries)
		state := stateOf(together.store)
		apart := newMachine(t, t.TempDir())
		for _, e := range entries {
			apart.Apply([]raftlog.Entry{e})
		}
		want, err := together.store.HashKV(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := apart.store.HashKV(t.Context(), 0)
		if err != nil || got != want {
			t.Fatalf("%+v, and %+v when applied apart (%v)", want, got, err)
		}
		if (together.Err() == nil) != (apart.Err() == nil) {
			t.Fatalf("%v, and %v when applied apart", together.Err(), apart.Err())
		}
		if together.Err() != nil {
			return
		}
		if err := together.store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := stateOf(newMachine(t, dir).store); !reflect.DeepEqual(got, state) {
			t.Fatalf("opened again: %+v, was %+v", got, state)
		}
	})
}

// stateOf is what a store holds besides keys.
func stateOf(s *sqlstore.Store) []any {
	return []any{s.Revision(), s.CompactRevision(), fmt.Sprint(s.Alarms(pb.AlarmType_NONE)), s.ClusterVersion(), s.Downgrade(), fmt.Sprint(s.Leases())}
}

// FuzzConfChange has any bytes be the member that a change of membership carries.
func FuzzConfChange(f *testing.F) {
	for _, context := range []string{
		`{"id":1,"peerURLs":["http://a:2380"]}`, `{"id":1,"peerURLs":["http://b:2380"],"isPromote":true}`, `{"id":1,"isLearner":true,"peerURLs":[""]}`,
		`{"id":18446744073709551615,"name":"n","clientURLs":null}`, `null`, `[]`, `{"id":-1}`,
	} {
		f.Add(int32(0), uint64(1), []byte(context))
		f.Add(int32(2), uint64(2), []byte(context))
	}
	f.Fuzz(func(t *testing.T, kind int32, id uint64, context []byte) {
		m := newMachine(t, t.TempDir())
		founder := memberChange(t, 1, raftpb.ConfChangeAddNode, member(2, "http://a:2380"))
		if err := m.ApplyConfChange(founder, &raftpb.ConfState{Voters: []uint64{2}}); err != nil {
			t.Fatal(err)
		}
		change := raftlog.ConfChange{
			Index: 2, Term: 1, Context: context, Changes: []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeType(kind).Enum(), NodeId: &id}},
		}
		if m.CheckConfChange(change) != nil {
			return
		}
		if err := m.ApplyConfChange(change, &raftpb.ConfState{Voters: []uint64{id, 2}}); err != nil {
			t.Fatalf("passed its check: %v", err)
		}
		if _, err := m.SnapshotData(); err != nil {
			t.Fatal(err)
		}
	})
}

// said is a member that gives one answer to all questions.
type said struct {
	code int
	body []byte
}

func (s said) RoundTrip(*http.Request) (*http.Response, error) {
	header := http.Header{}
	header.Set(clusterIDHeader, "1")
	return &http.Response{StatusCode: s.code, Header: header, Body: io.NopCloser(bytes.NewReader(s.body))}, nil
}

// FuzzPeerAnswer has another member answer anything to all that members ask each other.
func FuzzPeerAnswer(f *testing.F) {
	for _, body := range []string{
		`{"hash":1,"compact_revision":-1,"header":null}`, `[{"id":1,"peerURLs":["http://a:2380"]},null]`, `[null]`, `null`, `{"etcdcluster":"3.7.0"}`, "true", "",
	} {
		f.Add(http.StatusOK, []byte(body))
		f.Add(http.StatusNotFound, []byte(body))
	}
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		ctx, peers := t.Context(), newPeerClient(said{code, body})
		const url = "http://127.0.0.1:2380"
		// Any error will do.
		_, _ = decodeHash(peerAnswer{status: code, body: body})
		_, _ = peers.askCluster(ctx, url)
		_, _ = peers.askClusterVersion(ctx, url)
		_ = peers.checkCompatible(ctx, []string{url})
		opts := new(Options)
		opts.SetDefaults()
		c := &core{peers: peers, opts: opts}
		_, _ = (&clusterService{core: c}).promoteAt(ctx, url, 1)
		leases := &leaseService{core: c}
		_, _ = leases.renewAt(ctx, url, 1)
		_, _ = leases.timeToLiveAt(ctx, url, &pb.LeaseTimeToLiveRequest{ID: 1})
	})
}

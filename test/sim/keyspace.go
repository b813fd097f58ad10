// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/raftlog"
)

// keyspace is a small store of what etcd's requests do: enough of it for the workload. It serves as the state machine of
// most worlds and, by itself, as the oracle that every state machine is compared with.
type keyspace struct {
	Applied, Term uint64
	Conf          []byte // the encoded configuration in force at Applied
	Members       map[uint64]bool
	Learners      map[uint64]bool
	Removed       map[uint64]bool
	Rev, Compact  int64
	Keys          map[string]item
	Leases        map[int64]bool
	Events        []watchEvent // since Compact
	Hash          uint64       // over all that was ever written

	onEvent func(watchEvent) // the oracle's
}

// item is a live key.
type item struct {
	Value   string
	Create  int64
	Mod     int64
	Version int64
	Lease   int64
}

// watchEvent is one write, as a watcher is told of it.
type watchEvent struct {
	Rev     int64
	Key     string
	Value   string
	Deleted bool
}

// outcome is what an entry answered, whatever the machine is.
type outcome struct {
	id      uint64
	rev     int64 // of the store afterwards
	ok      bool  // a transaction's branch
	deleted int64
	failed  bool   // refused, with nothing changed
	read    string // by a transaction, as key=value@mod
}

func newKeyspace() *keyspace {
	return &keyspace{
		Members: make(map[uint64]bool), Learners: make(map[uint64]bool), Removed: make(map[uint64]bool),
		Keys: make(map[string]item), Leases: make(map[int64]bool), Rev: 1,
	}
}

// clone returns a copy that later changes do not reach. Events are only ever appended to.
func (k *keyspace) clone() *keyspace {
	c := *k
	c.Members, c.Learners, c.Removed = maps.Clone(k.Members), maps.Clone(k.Learners), maps.Clone(k.Removed)
	c.Keys, c.Leases = maps.Clone(k.Keys), maps.Clone(k.Leases)
	c.Events = k.Events[:len(k.Events):len(k.Events)]
	return &c
}

func (k *keyspace) encode() ([]byte, error) { return json.Marshal(k) }

func decodeKeyspace(data []byte) (*keyspace, error) {
	k := newKeyspace()
	if err := json.Unmarshal(data, k); err != nil {
		return nil, fmt.Errorf("decode a keyspace: %w", err)
	}
	return k, nil
}

// conf returns the configuration in force.
func (k *keyspace) conf() (*raftpb.ConfState, error) {
	if k.Conf == nil {
		return nil, nil
	}
	conf := new(raftpb.ConfState)
	return conf, proto.Unmarshal(k.Conf, conf)
}

// applyEmpty moves the applied index.
func (k *keyspace) applyEmpty(index, term uint64) {
	k.Applied, k.Term = index, term
	k.Hash = mix(k.Hash, index, term)
}

// applyEntry applies a request. The second result is the error of a payload that is none.
func (k *keyspace) applyEntry(e raftlog.Entry) (outcome, error) {
	r := new(pb.InternalRaftRequest)
	if err := proto.Unmarshal(e.Data, r); err != nil {
		return outcome{}, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	k.applyEmpty(e.Index, e.Term)
	o := outcome{id: r.GetHeader().GetID()}
	w := &write{k: k, rev: k.Rev + 1}
	switch {
	case r.Put != nil:
		if o.failed = !k.mayPut(r.Put); !o.failed {
			w.put(r.Put)
		}
	case r.DeleteRange != nil:
		o.deleted = w.deleteKey(string(r.DeleteRange.Key))
	case r.Txn != nil:
		k.applyTxn(r.Txn, w, &o)
	case r.LeaseGrant != nil:
		if o.failed = k.Leases[r.LeaseGrant.ID]; !o.failed {
			k.Leases[r.LeaseGrant.ID] = true
		}
	case r.LeaseRevoke != nil:
		if o.failed = !k.Leases[r.LeaseRevoke.ID]; !o.failed {
			w.revoke(r.LeaseRevoke.ID)
		}
	case r.Compaction != nil:
		if rev := r.Compaction.Revision; rev <= k.Compact || rev > k.Rev {
			o.failed = true
		} else {
			k.compact(rev)
		}
	}
	if w.wrote {
		k.Rev = w.rev
	}
	k.Hash = mix(k.Hash, uint64(k.Rev))
	o.rev = k.Rev
	return o, nil
}

func (k *keyspace) mayPut(r *pb.PutRequest) bool { return r.Lease == 0 || k.Leases[r.Lease] }

// applyTxn knows comparisons of a value or a modification revision for equality, puts, deletes and reads of one key.
func (k *keyspace) applyTxn(r *pb.TxnRequest, w *write, o *outcome) {
	o.ok = true
	for _, c := range r.Compare {
		have := k.Keys[string(c.Key)]
		switch c.Target {
		case pb.Compare_MOD:
			o.ok = o.ok && have.Mod == c.GetModRevision()
		case pb.Compare_VALUE:
			o.ok = o.ok && have.Mod != 0 && have.Value == string(c.GetValue())
		}
	}
	ops := r.Success
	if !o.ok {
		ops = r.Failure
	}
	for _, op := range ops {
		if put := op.GetRequestPut(); put != nil && !k.mayPut(put) {
			o.failed = true
			return
		}
	}
	for _, op := range ops {
		if put := op.GetRequestPut(); put != nil {
			w.put(put)
		}
		if del := op.GetRequestDeleteRange(); del != nil {
			o.deleted += w.deleteKey(string(del.Key))
		}
		if get := op.GetRequestRange(); get != nil {
			o.read += describe(string(get.Key), k.Keys[string(get.Key)])
		}
	}
}

// describe says what a key holds.
func describe(key string, it item) string {
	if it.Mod == 0 {
		return "none;"
	}
	return fmt.Sprintf("%s=%s@%d;", key, it.Value, it.Mod)
}

// write is one entry's changes, all of one revision.
type write struct {
	k     *keyspace
	rev   int64
	wrote bool
}

func (w *write) put(r *pb.PutRequest) {
	key, have := string(r.Key), w.k.Keys[string(r.Key)]
	it := item{Value: string(r.Value), Create: have.Create, Mod: w.rev, Version: have.Version + 1, Lease: r.Lease}
	if have.Mod == 0 {
		it.Create = w.rev
	}
	w.k.Keys[key] = it
	w.event(watchEvent{Rev: w.rev, Key: key, Value: it.Value})
	w.k.Hash = mix(w.k.Hash, uint64(it.Create), uint64(it.Version), uint64(it.Lease))
}

func (w *write) deleteKey(key string) int64 {
	if _, live := w.k.Keys[key]; !live {
		return 0
	}
	delete(w.k.Keys, key)
	w.event(watchEvent{Rev: w.rev, Key: key, Deleted: true})
	return 1
}

func (w *write) event(e watchEvent) {
	w.wrote = true
	w.k.Events = append(w.k.Events, e)
	if w.k.onEvent != nil {
		w.k.onEvent(e)
	}
	w.k.Hash = mixBytes(mix(w.k.Hash, uint64(e.Rev)), []byte(e.Key+"="+e.Value))
}

// revoke ends a lease and deletes its keys, in their order.
func (w *write) revoke(id int64) {
	delete(w.k.Leases, id)
	for _, key := range slices.Sorted(maps.Keys(w.k.Keys)) {
		if w.k.Keys[key].Lease == id {
			w.deleteKey(key)
		}
	}
}

func (k *keyspace) compact(rev int64) {
	k.Compact = rev
	n := 0
	for n < len(k.Events) && k.Events[n].Rev < rev {
		n++
	}
	k.Events = slices.Clone(k.Events[n:])
}

// checkConfChange refuses what does not fit the membership.
func (k *keyspace) checkConfChange(change raftlog.ConfChange) error {
	if len(change.Changes) != 1 {
		return fmt.Errorf("%d changes at once", len(change.Changes))
	}
	c := change.Changes[0]
	id := c.GetNodeId()
	switch {
	case k.Removed[id]:
		return fmt.Errorf("member %d was removed", id)
	case c.GetType() == raftpb.ConfChangeRemoveNode && !k.Members[id]:
		return fmt.Errorf("no member %d", id)
	case c.GetType() == raftpb.ConfChangeAddLearnerNode && k.Members[id]:
		return fmt.Errorf("member %d exists", id)
	case c.GetType() == raftpb.ConfChangeAddNode && k.Members[id] && !k.Learners[id]:
		return fmt.Errorf("member %d is a voter", id)
	}
	return nil
}

func (k *keyspace) applyConfChange(change raftlog.ConfChange, conf *raftpb.ConfState) {
	k.applyEmpty(change.Index, change.Term)
	c := change.Changes[0]
	id := c.GetNodeId()
	delete(k.Learners, id)
	switch c.GetType() {
	case raftpb.ConfChangeRemoveNode:
		delete(k.Members, id)
		k.Removed[id] = true
	case raftpb.ConfChangeAddLearnerNode:
		k.Members[id], k.Learners[id] = true, true
	case raftpb.ConfChangeAddNode:
		k.Members[id] = true
	}
	k.Conf = encode(conf)
	k.Hash = mix(k.Hash, uint64(c.GetType()), id)
}

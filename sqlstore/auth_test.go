// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/sqlstore/sqldb"
)

// witness is an authority that notes what it can see when it is asked.
type witness struct {
	store            *Store
	readable         int64  // revision, when a request about users was applied
	applied          uint64 // as last told
	suspends, wakes  int
	refuse           error
	askedAbout, made int
}

func (w *witness) Suspend()         { w.suspends++ }
func (w *witness) Recover(s *Store) { w.store = s; w.wakes++ }

func (w *witness) Permit(*pb.InternalRaftRequest) error {
	w.askedAbout++
	return w.refuse
}

func (w *witness) Apply(_ uint64, r *pb.InternalRaftRequest) (any, error) {
	w.made++
	w.readable = w.store.Revision()
	t := w.store.AuthTables()
	t.Lock()
	defer t.Unlock()
	t.SetRevision(t.Revision() + 1)
	return &pb.AuthEnableResponse{}, nil
}

func (w *witness) Applied(index uint64) { w.applied = index }

// TestUsersAreNeverAheadOfTheView applies writes and a change of users in one batch: whoever is permitted more by the
// change must not be shown the keys as they were before the writes.
func TestUsersAreNeverAheadOfTheView(t *testing.T) {
	w := &witness{}
	f := newFixture(t, func(o *Options) { o.Authority = w })
	entries := []Entry{
		f.entry(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("a")}}),
		f.entry(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("b")}}),
		f.entry(&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}),
		f.entry(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("c")}}),
	}
	out, err := f.store.Apply(entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if o.Err != nil || o.Response == nil || o.ID == 0 {
			t.Errorf("entry %d: %+v", i, o)
		}
	}
	if w.readable != 3 || f.store.Revision() != 4 || w.applied != entries[3].Index {
		t.Errorf("at the change revision %d was readable, %d is now, and %d is applied", w.readable, f.store.Revision(), w.applied)
	}
	f.reopen()
	tables := f.store.AuthTables()
	tables.RLock()
	defer tables.RUnlock()
	if got := tables.Revision(); got != firstAuthRevision+1 || tables.Enabled() {
		t.Errorf("revision %d after a restart", got)
	}
}

// TestAuthorityIsAsked wants entries refused by the authority to write nothing, and requests about users to be
// unknown to a store without one.
func TestAuthorityIsAsked(t *testing.T) {
	w := &witness{refuse: errors.New("refused")}
	f := newFixture(t, func(o *Options) { o.Authority = w })
	for i, r := range []*pb.InternalRaftRequest{
		{Put: &pb.PutRequest{Key: []byte("a")}}, {Txn: &pb.TxnRequest{}}, {DeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}},
		{Range: &pb.RangeRequest{Key: []byte("a")}}, {LeaseRevoke: &pb.LeaseRevokeRequest{ID: 1}},
	} {
		if _, err := f.apply(r); !errors.Is(err, w.refuse) || w.askedAbout != i+1 {
			t.Errorf("%v: %v, asked %d times", r, err, w.askedAbout)
		}
	}
	if f.store.Revision() != 1 {
		t.Errorf("revision %d", f.store.Revision())
	}
	free := newFixture(t, nil)
	if _, err := free.apply(&pb.InternalRaftRequest{AuthEnable: &pb.AuthEnableRequest{}}); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// TestUnknownPermission refuses a file whose roles can't be understood, rather than permit what was not meant.
func TestUnknownPermission(t *testing.T) {
	state := sqldb.State{Roles: []sqldb.Role{{Name: "r", Permissions: []sqldb.Permission{{Kind: "SOME"}}}}}
	if err := new(AuthTables).recover(state); err == nil {
		t.Error("a permission of an unknown kind is taken")
	}
}

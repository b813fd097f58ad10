// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// watcher is one Watch stream.
type watcher struct {
	s      *side
	stream pb.Watch_WatchClient
}

func (s *side) watch(user string) *watcher {
	s.t.Helper()
	stream, err := pb.NewWatchClient(s.conn).Watch(s.as(user))
	if err != nil {
		s.t.Fatal(err)
	}
	return &watcher{s, stream}
}

// create asks for a watch and notes the answer.
func (w *watcher) create(user string, r *pb.WatchCreateRequest) {
	w.s.note(user, call{fmt.Sprintf("watch %q..%q", r.Key, r.RangeEnd), func(context.Context, *side) (proto.Message, error) {
		if err := w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
			return nil, err
		}
		return w.stream.Recv()
	}})
}

// next notes the next response.
func (w *watcher) next(user, what string) {
	w.s.note(user, call{what, func(context.Context, *side) (proto.Message, error) { return w.stream.Recv() }})
}

// TestWatchAsEtcd creates watches as users of all sorts on ranges of all sorts. Among them is the one by which a user
// with a single key could once watch every key behind it.
func TestWatchAsEtcd(t *testing.T) {
	keelson, etcd := both(t)
	onBoth(keelson, etcd, func(s *side) {
		s.populate()
		for _, user := range callers {
			w := s.watch(user)
			for _, r := range [][2]string{
				{"k", ""}, {"m", ""}, {"m", "\x00"}, {"m", "n"}, {"n", "\x00"}, {"p/", "p0"}, {"p/1", ""}, {"p/", "\x00"}, {"p", "p0"},
				{"", ""}, {"", "\x00"}, {"secret", ""}, {"x", ""}, {"x", "\x00"}, {"m", "m\x00"}, {"m", "m"}, {"z", "a"},
			} {
				w.create(user, &pb.WatchCreateRequest{Key: bytesOf(r[0]), RangeEnd: bytesOf(r[1])})
			}
			w.create(user, &pb.WatchCreateRequest{Key: bytesOf("secret"), StartRevision: -1})
			w.create(user, &pb.WatchCreateRequest{Key: bytesOf("secret"), StartRevision: 1, PrevKv: true})
		}
	})
	wantSame(t, keelson, etcd)
}

// TestWatchOfOneKey names the hole: a permission for exactly one key is none for the keys behind it.
func TestWatchOfOneKey(t *testing.T) {
	keelson, etcd := both(t)
	onBoth(keelson, etcd, func(s *side) {
		s.populate()
		w := s.watch("single")
		w.create("single", &pb.WatchCreateRequest{Key: bytesOf("m"), RangeEnd: []byte{0}})
		last, ok := s.outcomes[len(s.outcomes)-1].Resp.(*pb.WatchResponse)
		if want := "rpc error: code = PermissionDenied desc = etcdserver: permission denied"; !ok || !last.Canceled || last.CancelReason != want {
			t.Errorf("%s: a watch from the key on: %v", s.server.Kind(), last)
		}
	})
	wantSame(t, keelson, etcd)
}

// TestWatchWhileUsersChange takes away what a running watch was permitted. As in etcd it goes on, and the next one of
// its stream is refused.
func TestWatchWhileUsersChange(t *testing.T) {
	revoke := call{"revoke", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: "u", Role: "r"})
	}}
	deleted := call{"delete user", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: "u"})
	}}
	disable := call{"disable", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().AuthDisable(ctx, &pb.AuthDisableRequest{})
	}}
	keelson, etcd := both(t)
	onBoth(keelson, etcd, func(s *side) {
		s.populate()
		w := s.watch("u")
		w.create("u", &pb.WatchCreateRequest{Key: bytesOf("p/"), RangeEnd: bytesOf("p0")})
		s.must("root", put("p/1", "seen"))
		w.next("u", "event while permitted")
		s.must("root", revoke)
		s.must("root", put("p/1", "after the role was revoked"))
		w.next("u", "event after the role was revoked")
		w.create("u", &pb.WatchCreateRequest{Key: bytesOf("p/1")})
		s.note("u", get("p/1", ""))
		s.must("root", deleted)
		s.must("root", put("p/1", "after the user was deleted"))
		w.next("u", "event after the user was deleted")
		w.create("u", &pb.WatchCreateRequest{Key: bytesOf("p/1")})
		s.note("u", get("p/1", ""))
		s.note("u", put("k", "by a user who is gone"))
		s.must("root", disable)
		w.create("u", &pb.WatchCreateRequest{Key: bytesOf("k")})
		s.note("u", get("p/1", ""))
	})
	wantSame(t, keelson, etcd)
}

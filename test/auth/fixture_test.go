// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"keelson.io/keelson/test/harness"
)

// Users that are no users: who brings no token, and who brings one that is none.
const (
	nobody  = ""
	invalid = "!"
)

// outcome is what a call gave.
type outcome struct {
	Call, User, Err string
	Resp            proto.Message
}

// side is a server and what was seen of it.
type side struct {
	t        testing.TB
	server   *harness.Server
	conn     *grpc.ClientConn
	tokens   map[string]string
	outcomes []outcome
}

func newSide(t testing.TB, server *harness.Server) *side {
	return &side{t: t, server: server, conn: server.Conn(t), tokens: map[string]string{}}
}

const callTimeout = 30 * time.Second

// as is the context of a user's call.
func (s *side) as(user string) context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), callTimeout)
	s.t.Cleanup(cancel)
	switch user {
	case nobody:
		return ctx
	case invalid:
		return metadata.AppendToOutgoingContext(ctx, "token", "nonsense")
	}
	if s.tokens[user] == "" {
		s.login(user)
	}
	return metadata.AppendToOutgoingContext(ctx, "token", s.tokens[user])
}

func (s *side) auth() pb.AuthClient { return pb.NewAuthClient(s.conn) }
func (s *side) kv() pb.KVClient     { return pb.NewKVClient(s.conn) }

// login gets a token for a user, whose password is its name.
func (s *side) login(user string) {
	s.t.Helper()
	resp, err := s.auth().Authenticate(s.as(nobody), &pb.AuthenticateRequest{Name: user, Password: user})
	if err != nil {
		s.t.Fatalf("%s: login of %s: %v", s.server.Kind(), user, err)
	}
	s.tokens[user] = resp.Token
}

// call is one that both sides get.
type call struct {
	name string
	do   func(ctx context.Context, s *side) (proto.Message, error)
}

// note calls as a user and keeps what came of it.
func (s *side) note(user string, c call) {
	s.t.Helper()
	resp, err := c.do(s.as(user), s)
	o := outcome{Call: c.name, User: user}
	if err != nil {
		o.Err = err.Error()
	} else {
		o.Resp = resp
	}
	s.outcomes = append(s.outcomes, o)
}

// must calls as a user who may.
func (s *side) must(user string, c call) {
	s.t.Helper()
	if _, err := c.do(s.as(user), s); err != nil {
		s.t.Fatalf("%s: %s as %q: %v", s.server.Kind(), c.name, user, err)
	}
}

// wantSame compares what both sides gave.
func wantSame(t *testing.T, keelson, etcd *side) {
	t.Helper()
	if len(keelson.outcomes) != len(etcd.outcomes) || len(etcd.outcomes) == 0 {
		t.Fatalf("%d and %d outcomes", len(keelson.outcomes), len(etcd.outcomes))
	}
	refused := 0
	for i, want := range etcd.outcomes {
		if diff := cmp.Diff(want, keelson.outcomes[i], protocmp.Transform(),
			protocmp.IgnoreFields(&pb.ResponseHeader{}, "cluster_id", "member_id", "raft_term")); diff != "" {
			t.Errorf("%s as %q (-etcd +keelson):\n%s", want.Call, want.User, diff)
		}
		if want.Err != "" {
			refused++
		}
	}
	t.Logf("%d calls, %d of them refused", len(etcd.outcomes), refused)
}

// both starts a server of each kind with the same flags.
func both(t *testing.T, args ...string) (keelson, etcd *side) {
	t.Helper()
	opts := harness.Options{Args: append([]string{"--bcrypt-cost=4"}, args...)}
	return newSide(t, harness.Start(t, harness.Keelson, opts)), newSide(t, harness.Start(t, harness.Etcd, opts))
}

// onBoth does something on both sides, one after the other.
func onBoth(keelson, etcd *side, do func(s *side)) {
	do(keelson)
	do(etcd)
}

// errOnly leaves out a response that differs between servers by its nature.
func errOnly[T any](_ T, err error) (proto.Message, error) { return nil, err }

func addUser(name string) call {
	return call{"add user " + name, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserAdd(ctx, &pb.AuthUserAddRequest{Name: name, Password: name})
	}}
}

func addRole(name string) call {
	return call{"add role " + name, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: name})
	}}
}

func grantRole(user, role string) call {
	return call{"grant role " + role + " to " + user, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: role})
	}}
}

func grant(role string, kind authpb.Permission_Type, key, end string) call {
	return call{"grant " + key + " to " + role, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{
			Name: role, Perm: &authpb.Permission{PermType: kind, Key: []byte(key), RangeEnd: []byte(end)},
		})
	}}
}

func enable() call {
	return call{"enable", func(ctx context.Context, s *side) (proto.Message, error) {
		return s.auth().AuthEnable(ctx, &pb.AuthEnableRequest{})
	}}
}

func put(key, value string) call {
	return call{"put " + key, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.kv().Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	}}
}

func get(key, end string) call {
	return call{"get " + key + ".." + end, func(ctx context.Context, s *side) (proto.Message, error) {
		return s.kv().Range(ctx, &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)})
	}}
}

// populate makes users and turns authentication on: root; u, who may read and write k,
// read p/ and write from x on; single, who may read exactly m; open, who may read from m on.
func (s *side) populate() {
	s.t.Helper()
	const read, write, readwrite = authpb.Permission_READ, authpb.Permission_WRITE, authpb.Permission_READWRITE
	for _, c := range []call{
		put("k", "1"), put("m", "2"), put("n", "3"), put("p/1", "4"), put("secret", "5"), put("x", "6"),
		addUser("root"), grantRole("root", "root"),
		addRole("r"), grant("r", readwrite, "k", ""), grant("r", read, "p/", "p0"), grant("r", write, "x", "\x00"),
		addRole("single"), grant("single", read, "m", ""), addRole("open"), grant("open", read, "m", "\x00"), addRole("spare"),
		addUser("u"), grantRole("u", "r"), addUser("single"), grantRole("single", "single"), addUser("open"), grantRole("open", "open"),
		enable(),
	} {
		s.must(nobody, c)
	}
}

// drain reads a stream to its end and gives the error that is not its end.
func drain[T any](recv func() (T, error)) error {
	for {
		if _, err := recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// sorted brings calls into the order of their names.
func sorted(calls []call) []call {
	slices.SortStableFunc(calls, func(a, b call) int { return strings.Compare(a.name, b.name) })
	return calls
}

// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// enableAuth makes a root user and has clients authenticate.
func enableAuth(t *testing.T, c *clientv3.Client) {
	t.Helper()
	ctx := testContext(t)
	_, err := c.UserAdd(ctx, "root", "root")
	if err == nil {
		_, err = c.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = c.AuthEnable(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// openToAll are the methods that need no user, and why.
var openToAll = map[string]string{
	pb.Auth_Authenticate_FullMethodName: "it is how one becomes a user",
	pb.Auth_AuthStatus_FullMethodName:   "as in etcd",
	pb.KV_Txn_FullMethodName:            "an empty one is about no key",
	"/v3electionpb.Election/Observe":    "it ends without a word when its watch is refused, as in etcd",
	"/grpc.health.v1.Health/Check":      "balancers are no users",
	"/grpc.health.v1.Health/Watch":      "balancers are no users",
	"/grpc.health.v1.Health/List":       "balancers are no users",
}

// TestNobodyMayCallAnything calls every method there is without a token, also those that are added after this test was
// written: each is refused before it does anything.
func TestNobodyMayCallAnything(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c := n.client()
	enableAuth(t, c)
	revision, members := n.store.Revision(), len(n.store.Members())
	requests := map[string]proto.Message{ // those that are refused for another reason otherwise
		pb.KV_Range_FullMethodName:        &pb.RangeRequest{Key: []byte("k")},
		pb.KV_RangeStream_FullMethodName:  &pb.RangeRequest{Key: []byte("k")},
		pb.KV_Put_FullMethodName:          &pb.PutRequest{Key: []byte("k")},
		pb.KV_DeleteRange_FullMethodName:  &pb.DeleteRangeRequest{Key: []byte("k")},
		pb.Auth_UserGet_FullMethodName:    &pb.AuthUserGetRequest{Name: "root"},
		"/v3lockpb.Lock/Unlock":           &v3lockpb.UnlockRequest{Key: []byte("k")},
		"/v3electionpb.Election/Proclaim": &v3electionpb.ProclaimRequest{Leader: &v3electionpb.LeaderKey{Name: []byte("k"), Key: []byte("k/1"), Rev: 1, Lease: 1}},
		"/v3electionpb.Election/Resign":   &v3electionpb.ResignRequest{Leader: &v3electionpb.LeaderKey{Name: []byte("k"), Key: []byte("k/1"), Rev: 1, Lease: 1}},
		pb.Watch_Watch_FullMethodName:     &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}},
	}
	calls := 0
	for service, info := range n.grpc.GetServiceInfo() {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			if openToAll[name] != "" {
				continue
			}
			request := requests[name]
			if request == nil {
				request = &emptypb.Empty{}
			}
			calls++
			if answer := ask(t, c.ActiveConnection(), name, request); !strings.Contains(answer, "etcdserver: user name is empty") {
				t.Errorf("%s answers nobody: %s", name, answer)
			}
		}
	}
	if calls < 40 {
		t.Errorf("only %d methods", calls)
	}
	if n.store.Revision() != revision || len(n.store.Members()) != members {
		t.Error("nobody changed something")
	}
}

// ask sends one request, as a stream, which a unary call is too, and returns the error or the response's text.
func ask(t *testing.T, conn *grpc.ClientConn, method string, request proto.Message) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err.Error()
	}
	if err := stream.SendMsg(request); err != nil && err != io.EOF {
		return err.Error()
	}
	if method != pb.Watch_Watch_FullMethodName { // its refusals are responses
		if err := stream.CloseSend(); err != nil {
			return err.Error()
		}
	}
	response := new(pb.WatchResponse)
	if err := stream.RecvMsg(response); err != nil {
		return err.Error()
	}
	return response.String()
}

// TestStopDoesNotWaitForTokens stops a server while a client waits with a token that never comes.
func TestStopDoesNotWaitForTokens(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	c := n.client()
	enableAuth(t, c)
	ctx := metadata.AppendToOutgoingContext(testContext(t), "token", fmt.Sprintf("abcdefghijklmnop.%d", uint64(math.MaxInt64)))
	answered := make(chan error, 1)
	go func() {
		_, err := pb.NewKVClient(c.ActiveConnection()).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a token of the future is answered at once: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	start := time.Now()
	n.close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := <-answered; err == nil {
		t.Error("a token that is none is taken")
	}
}

// TestAuthMetric reads the gauge that etcd's package keeps.
func TestAuthMetric(t *testing.T) {
	n := startNode(t, t.TempDir(), Options{})
	enableAuth(t, n.client())
	resp, err := http.Get("http://" + n.addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\netcd_debugging_auth_revision %d\n", n.auth.Users().Revision()); !strings.Contains(string(text), want) {
		t.Errorf("/metrics has no %q", want)
	}
}

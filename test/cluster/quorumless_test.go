// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// TestAnswersWithoutQuorum asks a member that has lost all others for everything
// that is not about keys, and for locks and elections, which are. What it still
// says, and how it refuses the rest, is what etcd's member says.
func TestAnswersWithoutQuorum(t *testing.T) {
	keelsonOnly(t)
	var answers [2][]string
	for i, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		members := harness.StartMembers(t, kind, 3, harness.Options{}, nil)
		members[0].AwaitStorageVersion(t)
		for _, m := range members[1:] {
			m.Kill()
		}
		answers[i] = answersOf(t, members[0])
	}
	if !slices.Equal(answers[0], answers[1]) {
		t.Errorf("etcd:\n%s\nkeelson:\n%s", strings.Join(answers[0], "\n"), strings.Join(answers[1], "\n"))
	}
}

// answersOf asks all at a time, once the member knows that it has no leader.
func answersOf(t *testing.T, m *harness.Server) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn := m.Conn(t)
	for {
		s, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Leader == 0 {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	questions := questionsTo(m, conn)
	answers := make([]string, len(questions))
	var asking sync.WaitGroup
	for i, q := range questions {
		asking.Go(func() {
			answer, err := q.ask(ctx)
			answers[i] = fmt.Sprintf("%s: %s", q.name, answer)
			if err != nil {
				s := status.Convert(err)
				answers[i] = fmt.Sprintf("%s: %v %q", q.name, s.Code(), s.Message())
			}
		})
	}
	asking.Wait()
	return answers
}

type question struct {
	name string
	ask  func(context.Context) (string, error)
}

func questionsTo(m *harness.Server, conn *grpc.ClientConn) []question {
	maint, cluster, lease := pb.NewMaintenanceClient(conn), pb.NewClusterClient(conn), pb.NewLeaseClient(conn)
	lock, election := v3lockpb.NewLockClient(conn), v3electionpb.NewElectionClient(conn)
	downgrade := func(action pb.DowngradeRequest_DowngradeAction) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			r, err := maint.Downgrade(ctx, &pb.DowngradeRequest{Action: action, Version: "3.6"})
			return r.GetVersion(), err
		}
	}
	list := func(linearizable bool) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) {
			r, err := cluster.MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
			return fmt.Sprint(len(r.GetMembers())), err
		}
	}
	return []question{
		{"status", func(ctx context.Context) (string, error) {
			r, err := maint.Status(ctx, &pb.StatusRequest{})
			return fmt.Sprint(r.GetErrors(), r.GetStorageVersion()), err
		}},
		{"list", list(false)},
		{"linearizable list", list(true)},
		{"add", func(ctx context.Context) (string, error) {
			_, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}})
			return "", err
		}},
		{"promote", func(ctx context.Context) (string, error) {
			_, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 7})
			return "", err
		}},
		{"alarms", func(ctx context.Context) (string, error) {
			r, err := maint.Alarm(ctx, &pb.AlarmRequest{})
			return fmt.Sprint(r.GetAlarms()), err
		}},
		{"move", func(ctx context.Context) (string, error) {
			_, err := maint.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 7})
			return "", err
		}},
		{"hash", func(ctx context.Context) (string, error) {
			r, err := maint.HashKV(ctx, &pb.HashKVRequest{})
			return fmt.Sprint(r.GetHash()), err
		}},
		{"defragment", func(ctx context.Context) (string, error) {
			_, err := maint.Defragment(ctx, &pb.DefragmentRequest{})
			return "", err
		}},
		{"validate", downgrade(pb.DowngradeRequest_VALIDATE)},
		{"enable", downgrade(pb.DowngradeRequest_ENABLE)},
		{"cancel", downgrade(pb.DowngradeRequest_CANCEL)},
		{"grant", func(ctx context.Context) (string, error) {
			_, err := lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 100})
			return "", err
		}},
		{"lock", func(ctx context.Context) (string, error) {
			_, err := lock.Lock(ctx, &v3lockpb.LockRequest{Name: []byte("l")})
			return "", err
		}},
		{"unlock", func(ctx context.Context) (string, error) {
			_, err := lock.Unlock(ctx, &v3lockpb.UnlockRequest{Key: []byte("l")})
			return "", err
		}},
		{"leader", func(ctx context.Context) (string, error) {
			_, err := election.Leader(ctx, &v3electionpb.LeaderRequest{Name: []byte("e")})
			return "", err
		}},
		{"gateway", func(ctx context.Context) (string, error) { return post(ctx, m.URL()+"/v3/kv/range", `{"key":"YQ=="}`) }},
		{"downgrade/enabled", func(ctx context.Context) (string, error) {
			// Two timers of the same length, the request's and the read's: either may be first, on etcd too.
			answer, err := post(ctx, m.PeerURL()+"/downgrade/enabled", "")
			return strings.Replace(answer, "contextdeadlineexceeded", "etcdserver:requesttimedout", 1), err
		}},
	}
}

// post asks by HTTP, by GET if there is no body.
func post(ctx context.Context, url, body string) (string, error) {
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.Status, " ", strings.ReplaceAll(string(text), " ", "")), err
}

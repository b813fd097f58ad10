// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// commandOf is a server with a command line of the test's own.
func commandOf(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, harness.Build(t, harness.KeelsonServer), args...)
	cmd.Env = harness.CleanEnviron()
	return cmd
}

// memberArgs are the flags of a member m1 on free ports.
func memberArgs(t *testing.T, dir string) (args []string, peerURL string) {
	t.Helper()
	client, peerURL := "http://"+harness.Address(harness.FreePort(t)), "http://"+harness.Address(harness.FreePort(t))
	return []string{
		"--name=m1", "--data-dir=" + dir, "--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
	}, peerURL
}

// TestFoundingIsRefused gives flags that can't found or join a cluster: one clear line, before anything is written.
func TestFoundingIsRefused(t *testing.T) {
	keelsonOnly(t)
	nobody := "http://" + harness.Address(harness.FreePort(t))
	for name, tc := range map[string]struct {
		flags func(own string) []string
		words []string
	}{
		"a list without this member": {
			func(own string) []string { return []string{"--initial-cluster=m2=" + own} },
			[]string{"m1", "--initial-cluster"},
		},
		"two members with one URL": {
			func(own string) []string { return []string{"--initial-cluster=m1=" + own + ",m2=" + own} },
			[]string{"--initial-cluster", "m1", "m2"},
		},
		"two members with one name": {
			func(own string) []string { return []string{"--initial-cluster=m1=" + own + ",m1=" + nobody} },
			[]string{"--initial-cluster", "m1"},
		},
		"other URLs than are advertised": {
			func(string) []string { return []string{"--initial-cluster=m1=" + nobody} },
			[]string{"--initial-advertise-peer-urls"},
		},
		"a cluster that is not there": {
			func(own string) []string {
				return []string{"--initial-cluster=m1=" + own + ",m2=" + nobody, "--initial-cluster-state=existing"}
			},
			[]string{"cannot fetch cluster info"},
		},
		"a certificate without a key": {
			func(own string) []string { return []string{"--initial-cluster=m1=" + own, "--peer-cert-file=x.crt"} },
			[]string{"--peer-key-file"},
		},
		"force without data": {
			func(own string) []string { return []string{"--initial-cluster=m1=" + own, "--force-new-cluster"} },
			[]string{"--force-new-cluster"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			args, own := memberArgs(t, dir)
			ctx, cancel := context.WithTimeout(t.Context(), exitTimeout)
			defer cancel()
			wantOneLine(t, refusal(t, commandOf(ctx, t, append(args, tc.flags(own)...)...)), tc.words...)
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the data directory was made: %v", err)
			}
		})
	}
}

// TestJoiningUninvitedIsRefused starts a member that nobody has added, and one whose data is gone.
func TestJoiningUninvitedIsRefused(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	cluster := func(own string) string {
		var list []string
		for _, m := range members {
			list = append(list, m.Name()+"="+m.PeerURL())
		}
		return strings.Join(append(list, "m9="+own), ",")
	}
	args, own := memberArgs(t, filepath.Join(t.TempDir(), "data"))
	args[0] = "--name=m9"
	ctx, cancel := context.WithTimeout(t.Context(), exitTimeout)
	defer cancel()
	lines := refusal(t, commandOf(ctx, t, append(args, "--initial-cluster="+cluster(own), "--initial-cluster-state=existing")...))
	wantOneLine(t, lines, "member count is unequal", "etcdctl member add")

	// One that starts again without its data had made promises that it knows nothing of.
	gone := members[2]
	gone.Kill()
	if err := os.RemoveAll(gone.DataDir()); err != nil {
		t.Fatal(err)
	}
	founders := strings.TrimSuffix(cluster(""), ",m9=")
	for _, state := range []string{"new", "existing"} {
		lines = refusal(t, commandOf(ctx, t, "--name="+gone.Name(), "--data-dir="+gone.DataDir(),
			"--listen-client-urls="+gone.URL(), "--advertise-client-urls="+gone.URL(),
			"--listen-peer-urls="+gone.PeerURL(), "--initial-advertise-peer-urls="+gone.PeerURL(),
			"--initial-cluster="+founders, "--initial-cluster-state="+state))
		wantOneLine(t, lines, "has already been bootstrapped")
	}
}

// TestStrangersAtThePeerPort sends garbage, and members of another cluster, to the peer port of a cluster that works on.
func TestStrangersAtThePeerPort(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	stranger := harness.Start(t, harness.Keelson, harness.Options{Name: "stranger"})
	for _, m := range members {
		address := strings.TrimPrefix(m.PeerURL(), "http://")
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(conn, rand.Reader, 64<<10); err != nil {
			t.Logf("garbage: %v", err) // it may hang up
		}
		conn.Close()
		for _, path := range []string{"/raft", "/raft/snapshot", "/raft/stream/message/1", "/members/promote/1", "/leases", "/members/hashkv"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, m.PeerURL()+path, io.LimitReader(rand.Reader, 4<<10))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Etcd-Cluster-ID", "1234")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue // hung up on, as the garbage deserves
			}
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("garbage to %s of %s is answered with %s", path, m.Name(), resp.Status)
			}
		}
	}
	for i, m := range append(members, stranger) {
		key := fmt.Sprintf("after-%d", i)
		if _, err := pb.NewKVClient(m.Conn(t)).Put(t.Context(), &pb.PutRequest{Key: []byte(key)}); err != nil {
			t.Errorf("%s does not work on: %v", m.Name(), err)
		}
	}
}

// TestOpenPeerPortIsWarnedOf: whoever reaches a peer port without TLS can do everything.
func TestOpenPeerPortIsWarnedOf(t *testing.T) {
	keelsonOnly(t)
	port := harness.FreePort(t)
	server := harness.Start(t, harness.Keelson, harness.Options{Args: []string{fmt.Sprintf("--listen-peer-urls=http://0.0.0.0:%d", port)}})
	if !strings.Contains(server.Log(), "PEER TRAFFIC IS NOT PROTECTED") {
		t.Error("a peer port that is open to strangers is not warned of")
	}
	if closed := harness.Start(t, harness.Keelson, harness.Options{}); strings.Contains(closed.Log(), "NOT PROTECTED") {
		t.Error("a peer port on loopback is warned of")
	}
}

// TestRemovedMemberStops removes a member: it says why and ends in good order, and does not start again.
func TestRemovedMemberStops(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	status, err := pb.NewMaintenanceClient(members[2].Conn(t)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cluster := pb.NewClusterClient(members[0].Conn(t))
	for {
		_, err = cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: status.Header.MemberId})
		if err == nil {
			break
		}
		// Refused until the members were connected for some seconds.
		select {
		case <-ctx.Done():
			t.Fatalf("remove a member: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	select {
	case <-members[2].Exited():
	case <-ctx.Done():
		t.Fatal("a removed member runs on")
	}
	if !strings.Contains(members[2].Log(), "the member has been permanently removed from the cluster") {
		t.Error("a removed member does not say why it ends")
	}
	lines := refusal(t, commandOf(ctx, t, "--name=m3", "--data-dir="+members[2].DataDir(),
		"--listen-client-urls="+members[2].URL(), "--advertise-client-urls="+members[2].URL(),
		"--listen-peer-urls="+members[2].PeerURL(), "--initial-advertise-peer-urls="+members[2].PeerURL()))
	wantOneLine(t, lines, "permanently removed")
	members[2].Expect(0)
	if _, err := pb.NewKVClient(members[0].Conn(t)).Put(ctx, &pb.PutRequest{Key: []byte("k")}); err != nil {
		t.Errorf("two of three do not work on: %v", err)
	}
}

// TestMemberRemovedWhileAway learns from the others, when it is back, that it is none any more, and ends in good order, each
// time.
func TestMemberRemovedWhileAway(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{Args: []string{"--strict-reconfig-check=false"}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	away := members[2]
	status, err := pb.NewMaintenanceClient(away.Conn(t)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, pb.NewKVClient(members[0].Conn(t)), "key", "value")
	away.Stop()
	if _, err := pb.NewClusterClient(members[0].Conn(t)).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: status.Header.MemberId}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		away.Run()
		select {
		case <-away.Exited():
		case <-ctx.Done():
			t.Fatal("a removed member runs on")
		}
		away.Expect(0)
	}
	if !strings.Contains(away.Log(), "the member has been permanently removed from the cluster") {
		t.Error("it does not say why it ends")
	}
}

// TestRemovedDuringTheFirstCheck: a member that waits for the hashes of others hears that it is none any more.
func TestRemovedDuringTheFirstCheck(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{
		Args: []string{"--strict-reconfig-check=false", "--election-timeout=5000"}, // which lengthens the check
	}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	silent, leader, back := members[0], members[1], members[2]
	moveLeadership(ctx, t, members, leader)
	mustPut(t, pb.NewKVClient(leader.Conn(t)), "key", "value")
	status, err := pb.NewMaintenanceClient(back.Conn(t)).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	back.Stop()
	silent.Signal(syscall.SIGSTOP)
	begun := strings.Count(back.Log(), "starting initial corruption check") + 1
	passed := strings.Count(back.Log(), "initial corruption checking passed")
	back.Run()
	wantSoon(t, "the check has begun", func() error {
		if strings.Count(back.Log(), "starting initial corruption check") < begun {
			return errors.New("not logged")
		}
		return nil
	})
	if _, err := pb.NewClusterClient(leader.Conn(t)).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: status.Header.MemberId}); err != nil {
		t.Fatal(err)
	}
	<-back.Exited()
	back.Expect(0)
	if strings.Count(back.Log(), "initial corruption checking passed") > passed {
		t.Error("it waited for the end of the check")
	}
}

// TestStoppedDuringTheFirstCheck: SIGTERM is an ordinary end, too, while a member waits for the hashes of others.
func TestStoppedDuringTheFirstCheck(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	mustPut(t, pb.NewKVClient(members[0].Conn(t)), "key", "value")
	back := members[2]
	back.Stop()
	for _, m := range members[:2] {
		m.Signal(syscall.SIGSTOP)
	}
	back.Run()
	wantSoon(t, "the check has begun", func() error {
		if strings.Count(back.Log(), "starting initial corruption check") < 2 {
			return errors.New("not logged")
		}
		return nil
	})
	asked := time.Now()
	back.Stop()
	back.Expect(0)
	if took := time.Since(asked); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestLaterClusterIsRefused: a server does not start on the data of a cluster that is of a later version.
func TestLaterClusterIsRefused(t *testing.T) {
	keelsonOnly(t)
	server := harness.Start(t, harness.Keelson, harness.Options{})
	mustPut(t, pb.NewKVClient(server.Conn(t)), "key", "value")
	server.Stop()
	execute(t, databasePath(server), "UPDATE setting SET value = '99.0.0' WHERE name = 'cluster_version'")
	lines := refusalOn(t, server)
	wantOneLine(t, lines, "invalid downgrade; server version is lower than determined cluster version", server.DataDir())
}

// TestForceNewCluster loses the quorum for good, and goes on with what one member has.
func TestForceNewCluster(t *testing.T) {
	keelsonOnly(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), healTimeout)
	defer cancel()
	if _, err := pb.NewKVClient(members[1].Conn(t)).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		m.Kill()
	}
	survivor := members[0].WithArgs("--force-new-cluster")
	survivor.Restart()
	conn := survivor.Conn(t)
	got, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("the survivor has %v, %v", got, err)
	}
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
	if err != nil || len(list.Members) != 1 || list.Members[0].Name != "m1" {
		t.Errorf("the members are %v, %v", list, err)
	}
}

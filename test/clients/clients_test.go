// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"keelson.io/keelson/test/harness"
)

// patience ends a test that hangs.
const patience = 90 * time.Second

// cluster is one member or three, and what its users' tests share.
type cluster struct {
	members harness.Members
	key     string // begins all keys of a test
	flannel string // the program
}

// uses are what users do with a cluster. Each begins with all members running.
var uses = map[string]func(*testing.T, context.Context, *cluster){
	"Session": useSession, "Mutex": useMutex, "Election": useElection, "STM": useSTM,
	"Mirror": useMirror, "Leasing": useLeasing, "Naming": useNaming,
	"Namespace": useNamespace, "Ordering": useOrdering, "Snapshot": useSnapshot, "Flannel": useFlannel,
}

func TestClients(t *testing.T) {
	flannel := buildFlannel(t)
	for _, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%v/%d", kind, n), func(t *testing.T) {
				t.Parallel()
				members := harness.StartMembers(t, kind, n, harness.Options{Args: []string{"--log-level=error"}}, nil)
				for name, use := range uses {
					t.Run(name, func(t *testing.T) {
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						use(t, ctx, &cluster{members: members, key: strings.ToLower(name) + "/", flannel: flannel})
					})
				}
			})
		}
	}
}

// client connects to all members.
func (c *cluster) client(t *testing.T) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.members.Endpoints(), DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() {
		// A test may have closed it, to see what becomes of its sessions.
		_ = client.Close()
	})
	return client
}

// leader is the member that leads.
func (c *cluster) leader(t *testing.T, ctx context.Context) *harness.Server {
	t.Helper()
	for {
		for _, m := range c.members {
			status, err := m.Client(t).Status(ctx, m.Endpoint())
			must(t, err)
			if status.Leader == status.Header.MemberId {
				return m
			}
		}
	}
}

// crash kills the leader. One that is alone comes back at once, one of three when
// the test ends.
func (c *cluster) crash(t *testing.T, ctx context.Context) {
	t.Helper()
	leader := c.leader(t, ctx)
	leader.Kill()
	if len(c.members) == 1 {
		leader.Restart()
		return
	}
	t.Cleanup(leader.Restart)
}

// must ends a test at an error that is none of its business.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is a key's value, or nothing.
func get(t *testing.T, ctx context.Context, kv clientv3.KV, key string, opts ...clientv3.OpOption) string {
	t.Helper()
	r, err := kv.Get(ctx, key, opts...)
	must(t, err)
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

// retry asks again until there is no error, for whatever a loss of the leader can break off.
func retry(t *testing.T, ctx context.Context, what string, do func() error) {
	t.Helper()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

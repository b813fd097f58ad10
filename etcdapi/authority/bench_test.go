// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestDisabledCostsNothing wants no memory for what every request passes while
// authentication is disabled.
func TestDisabledCostsNothing(t *testing.T) {
	m := newMember(t)
	ctx, r := context.Background(), put(&pb.PutRequest{Key: []byte("k")})
	allocs := testing.AllocsPerRun(100, func() {
		if m.Permit(r) != nil || m.RequireUser(ctx) != nil || m.RequireAdmin(ctx) != nil || m.RequireRange(ctx, nil, nil) != nil || m.RenewLease(ctx, 1) != nil {
			t.Error("refused")
		}
		m.Applied(1)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkPermit(b *testing.B) {
	for _, user := range []string{"", "writer", rootUser} {
		name := "as " + user
		if user == "" {
			name = "disabled"
		}
		b.Run(name, func(b *testing.B) {
			m := newMember(b)
			r := put(&pb.PutRequest{Key: []byte("w/1")})
			if user != "" {
				m.populate()
				r.Header = &pb.RequestHeader{Username: user, AuthRevision: m.Users().Revision()}
			}
			for b.Loop() {
				if err := m.Permit(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

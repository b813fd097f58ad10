// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/auth"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// with is the context of a request with this metadata.
func with(pairs ...string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(pairs...))
}

func (m *member) token(user string) string {
	m.t.Helper()
	prefix, err := m.Users().GenTokenPrefix()
	m.must(err)
	resp, err := m.applyAs("", &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: user, SimpleToken: prefix}})
	m.must(err)
	return resp.(*pb.AuthenticateResponse).Token
}

func TestTokens(t *testing.T) {
	m := newMember(t)
	if info, err := m.Info(with("token", "nonsense")); info != nil || err != nil {
		t.Errorf("a token while authentication is disabled: %v, %v", info, err)
	}
	m.populate()
	token := m.token("reader")
	for _, c := range []struct {
		name string
		ctx  context.Context
		user string
		err  error
	}{
		{"none", context.Background(), "", nil},
		{"no token", with("other", "x"), "", nil},
		{"token", with("token", token), "reader", nil},
		{"authorization", with("authorization", token), "reader", nil},
		{"bearer", with("authorization", "Bearer "+token), "reader", nil},
		{"nonsense", with("token", "nonsense"), "", auth.ErrInvalidAuthToken},
		{"empty", with("token", ""), "", auth.ErrInvalidAuthToken},
		{"made up", with("token", "abcdefghijklmnop.1"), "", auth.ErrInvalidAuthToken},
		{"negative", with("token", "abcdefghijklmnop.-1"), "", auth.ErrInvalidAuthToken},
		{"the server", AsRoot(with("token", "nonsense")), "root", nil},
	} {
		info, err := m.Info(c.ctx)
		if !errors.Is(err, c.err) || (info == nil) != (c.user == "") || info != nil && (info.Username != c.user || info.Revision != m.Users().Revision()) {
			t.Errorf("%s: %+v, %v, want %q, %v", c.name, info, err, c.user, c.err)
		}
	}
	other := newMember(t)
	other.populate()
	other.token("reader") // as many entries as the other one has
	if _, err := other.Info(with("token", token)); !errors.Is(err, auth.ErrInvalidAuthToken) {
		t.Errorf("another cluster's token: %v", err)
	}
	m.apply(&pb.InternalRaftRequest{AuthUserDelete: &pb.AuthUserDeleteRequest{Name: "reader"}})
	if _, err := m.Info(with("token", token)); !errors.Is(err, auth.ErrInvalidAuthToken) {
		t.Errorf("the token of a user who is gone: %v", err)
	}
	if _, err := m.applyAs("", &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "reader", SimpleToken: "t"}}); !errors.Is(err, auth.ErrAuthFailed) {
		t.Errorf("a token for a user who is gone: %v", err)
	}
}

// TestTokenOfTheFuture is asked about with a token whose entry this member has not applied.
func TestTokenOfTheFuture(t *testing.T) {
	m := newMember(t)
	m.populate()
	short, cancel := context.WithTimeout(with("token", fmt.Sprintf("abcdefghijklmnop.%d", uint64(math.MaxUint64-1))), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Info(short); !errors.Is(err, auth.ErrInvalidAuthToken) {
		t.Errorf("a token that never comes: %v", err)
	}
	got := make(chan string)
	go func() {
		info, err := m.Info(with("token", fmt.Sprintf("prefix.%d", m.index)))
		got <- fmt.Sprint(info, err)
	}()
	for m.waiter.nearest.Load() != m.index+1 { // beside the one that is never let go
		time.Sleep(time.Millisecond)
	}
	if _, err := m.applyAs("", &pb.InternalRaftRequest{Authenticate: &pb.InternalAuthenticateRequest{Name: "root", SimpleToken: "prefix"}}); err != nil {
		t.Fatal(err)
	}
	if who, want := <-got, fmt.Sprint(&auth.AuthInfo{Username: "root", Revision: m.Users().Revision()}, error(nil)); who != want {
		t.Errorf("got %s, want %s", who, want)
	}
}

// TestWaiterIsBounded makes up more tokens than may be waited for.
func TestWaiterIsBounded(t *testing.T) {
	w := newWaiter()
	next := w.wait(1)
	for i := range uint64(maxAwaited + 100) {
		w.wait(math.MaxUint64 - i)
	}
	if n := len(w.awaited); n != maxAwaited {
		t.Errorf("%d are awaited", n)
	}
	w.applied(1)
	select {
	case <-next:
	default:
		t.Error("the next entry was given up")
	}
	if nearest := w.nearest.Load(); nearest < math.MaxUint64-maxAwaited-100 {
		t.Errorf("every entry from %d on is looked for", nearest)
	}
	w.close()
	<-w.wait(math.MaxUint64)
	if len(w.awaited) != 0 {
		t.Error("somebody waits after close")
	}
}

// TestCertificate takes the user's name from a verified certificate.
func TestCertificate(t *testing.T) {
	m := newMember(t)
	m.opts.ClientCertAuth = true
	m.populate()
	certificate := func(ctx context.Context, name string) context.Context {
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
		return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: state}})
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		user string
	}{
		{"certificate", certificate(with(), "reader"), "reader"},
		{"token comes first", certificate(with("token", m.token("both")), "reader"), "both"},
		{"gateway's own", certificate(with("grpcgateway-accept", "x"), "reader"), ""},
		{"unverified", peer.NewContext(with(), &peer.Peer{AuthInfo: credentials.TLSInfo{}}), ""},
		{"no TLS", peer.NewContext(with(), &peer.Peer{}), ""},
	} {
		info, err := m.Info(c.ctx)
		if err != nil || (info == nil) != (c.user == "") || info != nil && info.Username != c.user {
			t.Errorf("%s: %+v, %v, want %q", c.name, info, err, c.user)
		}
	}
	m.opts.ClientCertAuth = false
	if info, err := m.Info(certificate(with(), "reader")); info != nil || err != nil {
		t.Errorf("without --client-cert-auth: %v, %v", info, err)
	}
}

// TestRead changes users while somebody reads.
func TestRead(t *testing.T) {
	m := newMember(t)
	m.populate()
	ctx := with("token", m.token("reader"))
	may := func(info *auth.AuthInfo) error { return m.Users().IsRangePermitted(info, []byte("r"), nil) }
	if err := m.Read(ctx, may, func() error { return nil }); err != nil {
		t.Error(err)
	}
	failure := errors.New("can't read")
	if err := m.Read(ctx, may, func() error { return failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	err := m.Read(ctx, may, func() error { m.apply(addRole("more")); return nil })
	if !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("users changed meanwhile: %v", err)
	}
	err = m.Read(ctx, func(info *auth.AuthInfo) error { return m.Users().IsRangePermitted(info, []byte("x"), nil) }, func() error {
		t.Error("read what is not permitted")
		return nil
	})
	if !errors.Is(err, auth.ErrPermissionDenied) {
		t.Error(err)
	}
	if err := m.Read(with(), may, func() error { return nil }); !errors.Is(err, auth.ErrUserEmpty) {
		t.Errorf("nobody reads: %v", err)
	}
	// The same users and revision after a snapshot are no reason to trust what was read.
	file := filepath.Join(t.TempDir(), "snapshot.db")
	m.snapshot(file)
	if err := m.Read(ctx, may, func() error { return m.store.Restore(context.Background(), file) }); !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("a snapshot came meanwhile: %v", err)
	}
	m.Suspend()
	ctx = with("token", m.token("reader")) // a snapshot ends all tokens
	if err := m.Read(ctx, may, func() error { return nil }); !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("while a snapshot is installed: %v", err)
	}
}

func TestJWT(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"jwt", "jwt,sign-method=NONE", "jwt,sign-method=HS256", "jwt,sign-method=HS256,priv-key=/nowhere", "simple,x", "other"} {
		if _, err := New(Options{Token: bad}); err == nil {
			t.Errorf("--auth-token=%s is taken", bad)
		}
	}
	a, err := New(Options{Token: "jwt,sign-method=HS256,priv-key=" + key})
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(t)
	m.close()
	m.Authority = a
	m.reopen()
	m.populate()
	token := m.token("reader")
	info, err := m.Info(with("token", token))
	if err != nil || info.Username != "reader" || info.Revision != m.Users().Revision() {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := m.Info(with("token", token+"x")); !errors.Is(err, auth.ErrInvalidAuthToken) {
		t.Errorf("a damaged token: %v", err)
	}
	m.apply(addRole("more"))
	info, err = m.Info(with("token", token))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Users().IsRangePermitted(info, []byte("r"), nil); !errors.Is(err, auth.ErrAuthOldRevision) {
		t.Errorf("a token of users who have changed: %v", err)
	}
}

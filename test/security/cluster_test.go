// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"keelson.io/keelson/test/harness"
)

// healing bounds what a cluster needs elections and new connections for.
const healing = 60 * time.Second

// memberFiles are certificates of members of one cluster.
type memberFiles struct {
	ca   *harness.Authority
	pair harness.Pair
}

func newMemberFiles(t *testing.T) memberFiles {
	t.Helper()
	ca := harness.NewAuthority(t, "members")
	return memberFiles{ca, ca.Issue(harness.Leaf{CN: "member", Hosts: []string{"127.0.0.1"}})}
}

func (f memberFiles) flags(more ...string) []string {
	return append([]string{"--peer-cert-file=" + f.pair.CertFile, "--peer-key-file=" + f.pair.KeyFile,
		"--peer-trusted-ca-file=" + f.ca.File(), "--peer-client-cert-auth"}, more...)
}

// wantWorks writes at each member and reads it at all.
func wantWorks(t *testing.T, members harness.Members, round string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healing)
	defer cancel()
	for i, m := range members {
		key := []byte(fmt.Sprintf("%s/%d", round, i))
		for {
			_, err := pb.NewKVClient(m.Conn(t)).Put(ctx, &pb.PutRequest{Key: key})
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("%s: put at %s %s: %v", round, m.Kind(), m.Name(), err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		for _, reader := range members {
			got, err := pb.NewKVClient(reader.Conn(t)).Range(ctx, &pb.RangeRequest{Key: key})
			if err != nil || len(got.Kvs) != 1 {
				t.Errorf("%s: %s %s reads %v, %v", round, reader.Kind(), reader.Name(), got, err)
			}
		}
	}
}

var mixed = []harness.Kind{harness.Keelson, harness.Etcd, harness.Keelson}

// TestMixedClusterKnowsItsMembers has keelsons and an etcd find each other by certificates, and one more join them.
func TestMixedClusterKnowsItsMembers(t *testing.T) {
	for name, opts := range map[string]harness.Options{
		"mutual":     {Args: newMemberFiles(t).flags(), PeerScheme: "https"},
		"allowed CN": {Args: newMemberFiles(t).flags("--peer-cert-allowed-cn=other,member"), PeerScheme: "https"},
		"made by themselves": {Args: []string{"--auto-tls", "--peer-auto-tls"}, PeerScheme: "https",
			TLS: &tls.Config{InsecureSkipVerify: true}},
	} {
		t.Run(name, func(t *testing.T) {
			members := harness.StartMixed(t, mixed, opts, nil)
			wantWorks(t, members, "founded")
			joining := members.Add(t, "joining", func(c clientv3.Cluster, peerURL string) error { return addMember(t, c, peerURL) })
			joining.Restart()
			members = append(members, joining)
			wantWorks(t, members, "joined")
			members[0].Kill()
			members[0].Restart() // with the files that it has
			wantWorks(t, members, "restarted")
		})
	}
}

// addMember adds a member as soon as the others were connected for long enough.
func addMember(t *testing.T, c clientv3.Cluster, peerURL string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healing)
	defer cancel()
	for {
		_, err := c.MemberAdd(ctx, []string{peerURL})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestPeerListenersAsEtcds has members' certificates of all kinds knock at the peer URLs of keelson and of etcd.
func TestPeerListenersAsEtcds(t *testing.T) {
	f := newMemberFiles(t)
	stranger := harness.NewAuthority(t, "stranger")
	clients := map[string]harness.Pair{
		"member":            f.pair,
		"without hosts":     f.ca.Issue(harness.Leaf{CN: "member"}),
		"of a name here":    f.ca.Issue(harness.Leaf{CN: "member", Hosts: []string{"localhost"}}),
		"of another host":   f.ca.Issue(harness.Leaf{CN: "member", Hosts: []string{"192.0.2.1"}}),
		"of a name nowhere": f.ca.Issue(harness.Leaf{CN: "member", Hosts: []string{"nowhere.invalid"}}),
		"of another CN":     f.ca.Issue(harness.Leaf{CN: "somebody", Hosts: []string{"127.0.0.1"}}),
		"expired":           f.ca.Issue(harness.Leaf{CN: "member", Ends: time.Now().Add(-time.Minute)}),
		"strange":           stranger.Issue(harness.Leaf{CN: "member", Hosts: []string{"127.0.0.1"}}),
		"revoked":           f.ca.Issue(harness.Leaf{CN: "member"}),
	}
	revoked := filepath.Join(t.TempDir(), "peers.crl")
	harness.WriteFile(t, revoked, f.ca.Revoke(clients["revoked"]))
	for name, flags := range map[string][]string{
		"mutual":        f.flags(),
		"allowed CN":    f.flags("--peer-cert-allowed-cn=first,member"),
		"allowed host":  f.flags("--peer-cert-allowed-hostname=localhost"),
		"revocations":   f.flags("--peer-crl-file=" + revoked),
		"SAN skipped":   f.flags("--peer-skip-client-san-verification"),
		"from TLS 1.3":  f.flags("--tls-min-version=TLS1.3"),
		"other for own": f.flags("--peer-client-cert-file="+f.pair.CertFile, "--peer-client-key-file="+f.pair.KeyFile),
	} {
		t.Run(name, func(t *testing.T) {
			opts := harness.Options{Args: flags, PeerScheme: "https"}
			etcd, keelson := harness.Start(t, harness.Etcd, opts), harness.Start(t, harness.Keelson, opts)
			for client, pair := range clients {
				config := f.ca.Client(pair)
				if want, got := probePeer(t, etcd, config), probePeer(t, keelson, config); got != want {
					t.Errorf("%s: keelson %v, etcd %v", client, got, want)
				}
				config.MaxVersion = tls.VersionTLS12
				if want, got := probePeer(t, etcd, config), probePeer(t, keelson, config); got != want {
					t.Errorf("%s with TLS 1.2: keelson %v, etcd %v", client, got, want)
				}
			}
			if want, got := probePeer(t, etcd, f.ca.Client()), probePeer(t, keelson, f.ca.Client()); got != want {
				t.Errorf("without a certificate: keelson %v, etcd %v", got, want)
			}
		})
	}
}

func probePeer(t *testing.T, server *harness.Server, config *tls.Config) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	return shake(ctx, t, server, strings.TrimPrefix(server.PeerURL(), "https://"), config)
}

// TestAuthorityOfMembersChanges moves a running cluster to another authority, by files alone.
func TestAuthorityOfMembersChanges(t *testing.T) {
	f, next := newMemberFiles(t), newMemberFiles(t)
	members := harness.StartMembers(t, harness.Keelson, 3, harness.Options{Args: f.flags(), PeerScheme: "https"}, nil)
	wantWorks(t, members, "first authority")

	harness.WriteFile(t, f.ca.File(), append(f.ca.PEM(), next.ca.PEM()...))
	awaitReconnected(t, members, 1)
	wantWorks(t, members, "both authorities")

	copyPair(t, f.pair, next.pair)
	for _, m := range members { // a new connection each way, by certificates of the next authority
		m.Kill()
		before := strings.Count(m.Log(), refusedMember)
		m.Restart()
		wantWorks(t, members, "next certificates, "+m.Name()+" restarted")
		// One that does not trust it would not connect, and the cluster would still work, over the other direction.
		if refused := strings.Count(m.Log(), refusedMember) - before; refused != 0 {
			t.Errorf("the others have refused %s's certificate %d times", m.Name(), refused)
		}
	}

	harness.WriteFile(t, f.ca.File(), next.ca.PEM())
	awaitReconnected(t, members, 2)
	wantWorks(t, members, "next authority")
}

const refusedMember = "rejected connection on peer endpoint"

// awaitReconnected waits until all members have connected anew as often, in all the log.
func awaitReconnected(t *testing.T, members harness.Members, times int) {
	t.Helper()
	for _, m := range members {
		for deadline := time.After(healing); strings.Count(m.Log(), "reconnecting with the members") < times; {
			select {
			case <-deadline:
				t.Fatalf("%s does not see the new authority", m.Name())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// TestMadeCertificatesStay: a member that makes its certificates makes them once.
func TestMadeCertificatesStay(t *testing.T) {
	any := &tls.Config{InsecureSkipVerify: true}
	server := harness.Start(t, harness.Keelson, harness.Options{TLS: any, PeerScheme: "https", Args: []string{
		"--auto-tls", "--peer-auto-tls", "--self-signed-cert-validity=3"}})
	ends := func() time.Time {
		conn, err := tls.Dial("tcp", server.Endpoint(), any)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].NotAfter
	}
	first := ends()
	if years := time.Until(first).Hours() / 24 / 365; years < 2.99 || years > 3.01 {
		t.Errorf("the certificate ends in %.2f years", years)
	}
	for _, side := range []string{"client", "peer"} {
		key := filepath.Join(server.DataDir(), "fixtures", side, "key.pem")
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s's key: %v, %v", side, info, err)
		}
	}
	server.Stop()
	server.Restart()
	if again := ends(); !again.Equal(first) {
		t.Errorf("after a restart the certificate ends at %v, before at %v", again, first)
	}
}

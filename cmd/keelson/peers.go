// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/jonboulle/clockwork"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"keelson.io/keelson/etcdapi"
	"keelson.io/keelson/etcdapi/portmux"
	"keelson.io/keelson/raftlog"
	"keelson.io/keelson/raftlog/peer"
)

// handler gives what comes from other members to the parts that it is for.
type handler struct {
	*raftlog.Log
	machine *etcdapi.StateMachine
}

// IsRemoved implements peer.Handler.
func (h handler) IsRemoved(member uint64) bool { return h.machine.IsRemoved(member) }

// VerifySnapshot implements peer.Handler.
func (h handler) VerifySnapshot(ctx context.Context, s *raftpb.Snapshot, path string) error {
	return h.machine.VerifySnapshot(ctx, s, path)
}

// newTransport makes the connections to other members, none of which is there yet.
func newTransport(c *config, id identity, logger *zap.Logger) (*peer.Transport, error) {
	t, err := peer.New(peer.Options{
		Logger: logger, Name: c.name, MemberID: id.MemberID, ClusterID: id.ClusterID,
		URLs: c.initialAdvertisePeerURLs, TLS: c.peerTLS, SnapDir: snapDir(c), ElectionTimeout: c.election(),
	})
	if err != nil {
		return nil, err
	}
	for _, r := range id.remotes {
		t.AddRemote(r.ID, r.PeerURLs)
	}
	return t, nil
}

// warnOfStrangers says loudly that whoever reaches a peer URL can do everything.
func (c *config) warnOfStrangers(logger *zap.Logger) {
	for _, u := range c.listenPeerURLs {
		if !isLoopback(u) && (!isSecure(u) || c.peerTLS.TrustedCAFile == "") {
			logger.Warn("PEER TRAFFIC IS NOT PROTECTED: whoever reaches this address can read and change all data; "+
				"give --peer-cert-file, --peer-key-file, --peer-trusted-ca-file and --peer-client-cert-auth",
				zap.String("listen-peer-url", u.String()))
		}
	}
}

func isLoopback(u url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// peerReadTimeout bounds the request of another member, the body of a snapshot
// apart: rafthttp's listeners see to that one. It is etcd's.
const peerReadTimeout = 5 * time.Minute

// handshakeTimeout is how long a member may take to secure its connection, as in etcd.
const handshakeTimeout = 10 * time.Second

// newPeerServer serves other members.
func newPeerServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: peerReadTimeout,
		ErrorLog:          stdlog.New(io.Discard, "", 0), // faults of members, which they are told
	}
}

// servePeers answers other members on l until the server is closed.
func (n *node) servePeers(l listener) error {
	socket := l.socket
	if l.secure {
		socket = portmux.Listen(socket, clockwork.NewRealClock(), handshakeTimeout, n.tls.members.HandshakeOfHost)
	}
	if err := n.members.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve peers on %s: %w", socket.Addr(), err)
	}
	return nil
}

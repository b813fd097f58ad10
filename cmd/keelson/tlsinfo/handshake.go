// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"go.uber.org/zap"
)

// Handshake makes a secure connection of one that a client began. The protocols
// are those that the client offered. A client that is refused is told of in the
// log, as by etcd; closing the connection is the caller's.
func (f *Files) Handshake(ctx context.Context, conn net.Conn) (secure *tls.Conn, offered []string, err error) {
	h := &hello{Conn: conn}
	secure = tls.Server(h, f.front)
	if err := secure.HandshakeContext(ctx); err != nil {
		f.rejected(secure, err)
		return nil, nil, err
	}
	return secure, h.offered, nil
}

// HandshakeOfHost is Handshake for clients whose certificate must name, if it names
// any, the host that they connect from. etcd wants this of members, and of who
// reads metrics.
func (f *Files) HandshakeOfHost(ctx context.Context, conn net.Conn) (secure *tls.Conn, offered []string, err error) {
	secure, offered, err = f.Handshake(ctx, conn)
	if err != nil || f.opts.Info.SkipClientSANVerify {
		return secure, offered, err
	}
	if certs := secure.ConnectionState().PeerCertificates; len(certs) > 0 {
		if err := checkSAN(ctx, net.DefaultResolver, certs[0], conn.RemoteAddr().String()); err != nil {
			f.rejected(secure, err)
			return nil, nil, err
		}
	}
	return secure, offered, nil
}

// hello is a connection that keeps what the client's hello offered.
type hello struct {
	net.Conn
	offered []string
}

func (f *Files) greet(info *tls.ClientHelloInfo) (*tls.Config, error) {
	info.Conn.(*hello).offered = info.SupportedProtos
	return f.newest(), nil
}

// rejected logs why a client was refused, in etcd's words.
func (f *Files) rejected(conn *tls.Conn, err error) {
	log, message := f.opts.Logger.Warn, "rejected connection on client endpoint"
	if errors.Is(err, io.EOF) {
		log = f.opts.Logger.Debug // it went without a word
	}
	if f.opts.Prefix != "" {
		message = "rejected connection on peer endpoint"
	}
	state := conn.ConnectionState()
	fields := []zap.Field{zap.String("remote-addr", conn.RemoteAddr().String()), zap.String("server-name", state.ServerName)}
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		ips := make([]string, len(cert.IPAddresses))
		for i, ip := range cert.IPAddresses {
			ips[i] = ip.String()
		}
		fields = append(fields, zap.Strings("ip-addresses", ips), zap.Strings("dns-names", cert.DNSNames))
	}
	log(message, append(fields, zap.Error(err))...)
}

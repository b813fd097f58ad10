// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"

	"github.com/jonboulle/clockwork"
	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.uber.org/zap"

	"keelson.io/keelson/cmd/keelson/tlsinfo"
	"keelson.io/keelson/etcdapi/portmux"
	"keelson.io/keelson/metrics"
)

// security is how connections are secured, by clients and by members.
type security struct {
	clientTLS, peerTLS           transport.TLSInfo
	clientAutoTLS, peerAutoTLS   bool
	selfSignedCertYears          uint
	cipherSuites                 []string
	tlsMinVersion, tlsMaxVersion string
}

// checkTLS refuses what can't be served, in etcd's words where it has some, and
// gives clients and members the rules that are for both.
func (c *config) checkTLS() error {
	var faults []error
	fault := func(err error) { faults = append(faults, err) }
	fault(c.checkProtocol())
	fault(checkPair("", c.clientTLS, c.clientAutoTLS))
	fault(checkPair("peer-", c.peerTLS, c.peerAutoTLS))
	if c.selfSignedCertYears == 0 && (c.clientAutoTLS || c.peerAutoTLS) {
		fault(errors.New("--self-signed-cert-validity: selfSignedCertValidity is invalid,it should be greater than 0"))
	}
	if c.clientTLS.Empty() && !c.clientAutoTLS {
		for _, u := range c.clientURLs() {
			if isSecure(u) {
				fault(fmt.Errorf("TLS key/cert (--cert-file, --key-file) must be provided for client url %s with HTTPS scheme", u.String()))
			}
		}
		for _, u := range c.listenMetricsURLs {
			if isSecure(u) {
				fault(fmt.Errorf("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url (%s)", u.String()))
			}
		}
	}
	if c.peerTLS.Empty() && !c.peerAutoTLS {
		for _, u := range c.listenPeerURLs {
			if isSecure(u) {
				fault(fmt.Errorf("cannot listen on TLS for %s: KeyFile and CertFile are not presented (--peer-key-file, --peer-cert-file)", u.Host))
			}
		}
	}
	return errors.Join(faults...)
}

// checkProtocol is about versions and cipher suites.
func (c *config) checkProtocol() error {
	lowest, err := tlsutil.GetTLSVersion(c.tlsMinVersion)
	if err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	highest, err := tlsutil.GetTLSVersion(c.tlsMaxVersion)
	if err != nil {
		return fmt.Errorf("--tls-max-version: %w", err)
	}
	if highest != 0 && lowest > highest {
		return fmt.Errorf("--tls-min-version, --tls-max-version: min version (%s) is greater than max version (%s)", c.tlsMinVersion, c.tlsMaxVersion)
	}
	if lowest == tls.VersionTLS13 && len(c.cipherSuites) > 0 {
		return errors.New("--cipher-suites: cipher suites cannot be configured when only TLS1.3 is enabled")
	}
	suites, err := tlsutil.GetCipherSuites(c.cipherSuites)
	if err != nil {
		return fmt.Errorf("--cipher-suites: %w", err)
	}
	for _, info := range []*transport.TLSInfo{&c.clientTLS, &c.peerTLS} {
		info.MinVersion, info.MaxVersion, info.CipherSuites = lowest, highest, suites
	}
	return nil
}

// checkPair is about the files of one side. etcd takes generated certificates, and
// drops silently what else is asked for then.
func checkPair(prefix string, info transport.TLSInfo, auto bool) error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("--"+prefix+format, args...))
		}
	}
	fault((info.CertFile == "") != (info.KeyFile == ""),
		"cert-file, --%skey-file: KeyFile and CertFile must both be present[key: %v, cert: %v]", prefix, info.KeyFile, info.CertFile)
	fault((info.ClientCertFile == "") != (info.ClientKeyFile == ""),
		"client-cert-file, --%sclient-key-file: ClientKeyFile and ClientCertFile must both be present or both absent: key: %v, cert: %v]",
		prefix, info.ClientKeyFile, info.ClientCertFile)
	fault(info.ClientCertAuth && info.TrustedCAFile == "" && !auto, "client-cert-auth needs --%strusted-ca-file", prefix)
	fault(len(info.AllowedCNs) > 0 && len(info.AllowedHostnames) > 0,
		"cert-allowed-cn, --%scert-allowed-hostname: AllowedCNs and AllowedHostnames are mutually exclusive (cns=%q, hostnames=%q)",
		prefix, info.AllowedCNs, info.AllowedHostnames)
	asked := info.ClientCertAuth || info.TrustedCAFile != "" || info.CRLFile != "" || len(info.AllowedCNs)+len(info.AllowedHostnames) > 0
	fault(auto && info.Empty() && asked, "auto-tls takes every client: asking for certificates needs --%scert-file and --%skey-file", prefix, prefix)
	return errors.Join(faults...)
}

func isSecure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

// tlsFiles are the files of both sides; nil for a side without.
type tlsFiles struct {
	metrics          *metrics.TLS
	clients, members *tlsinfo.Files
}

// load reads all files that the flags name and that were not read yet.
func (f *tlsFiles) load(c *config, logger *zap.Logger) error {
	var faults []error
	for _, side := range []struct {
		name, prefix string
		info         transport.TLSInfo
		to           **tlsinfo.Files
	}{{"peer", "peer-", c.peerTLS, &f.members}, {"client", "", c.clientTLS, &f.clients}} {
		if side.info.Empty() || *side.to != nil {
			continue
		}
		logger.Info("starting with "+side.name+" TLS", zap.String("tls-info", side.info.String()), zap.Strings("cipher-suites", c.cipherSuites))
		files, err := tlsinfo.Load(tlsinfo.Options{
			Info: side.info, Prefix: side.prefix, Logger: logger, Metrics: f.metrics, Clock: clockwork.NewRealClock(),
		})
		*side.to, faults = files, append(faults, err)
	}
	return errors.Join(faults...)
}

// selfCert makes certificates in the data directory if that is asked for, or takes
// those that it made before.
func (c *config) selfCert(logger *zap.Logger) error {
	made := func(info *transport.TLSInfo, dir string, urls types.URLs) error {
		var hosts []string
		for _, u := range urls {
			if _, _, err := net.SplitHostPort(u.Host); err == nil { // no socket
				hosts = append(hosts, u.Host)
			}
		}
		made, err := transport.SelfCert(logger, filepath.Join(c.dataDir, "fixtures", dir), hosts, c.selfSignedCertYears)
		if err != nil {
			return fmt.Errorf("generate certificates: %w", err)
		}
		made.MinVersion, made.MaxVersion, made.CipherSuites = info.MinVersion, info.MaxVersion, info.CipherSuites
		made.SkipClientSANVerify, made.LocalAddr = info.SkipClientSANVerify, info.LocalAddr
		*info = made
		return nil
	}
	if c.peerAutoTLS && c.peerTLS.Empty() {
		if err := made(&c.peerTLS, "peer", c.listenPeerURLs); err != nil {
			return err
		}
	}
	if c.clientAutoTLS && c.clientTLS.Empty() {
		return made(&c.clientTLS, "client", c.clientURLs())
	}
	return nil
}

// questionTLS is for asking members before this one has its certificates.
func (c *config) questionTLS() transport.TLSInfo {
	if c.peerAutoTLS && c.peerTLS.Empty() {
		return transport.TLSInfo{InsecureSkipVerify: true} // as with all self-signed certificates
	}
	return c.peerTLS
}

// warnOfTLS says, in etcd's words, which settings do not do what they seem to.
func (c *config) warnOfTLS(logger *zap.Logger) {
	if c.clientAutoTLS && !c.clientTLS.Empty() {
		logger.Warn("ignoring client auto TLS since certs given")
	}
	if c.peerAutoTLS && !c.peerTLS.Empty() {
		logger.Warn("ignoring peer auto TLS since certs given")
	}
	for _, u := range c.clientURLs() {
		at := zap.String("client-url", u.String())
		if !isSecure(u) && !c.clientTLS.Empty() {
			logger.Warn("scheme is http or unix while key and cert files are present; ignoring key and cert files", at)
		}
		if !isSecure(u) && c.clientTLS.ClientCertAuth {
			logger.Warn("scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL", at)
		}
	}
	for _, u := range c.listenPeerURLs {
		at := zap.String("peer-url", u.String())
		if !isSecure(u) && !c.peerTLS.Empty() {
			logger.Warn("scheme is HTTP while key and cert files are present; ignoring key and cert files", at)
		}
		if !isSecure(u) && c.peerTLS.ClientCertAuth {
			logger.Warn("scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL", at)
		}
	}
	c.warnOfStrangers(logger)
}

// serveClients answers clients on l until the server stops.
func (n *node) serveClients(l listener) error {
	var handshake portmux.Handshake
	if l.secure {
		handshake = n.tls.clients.Handshake
	}
	switch {
	case l.traffic != "":
		return n.server.ServeOnly(l.traffic, l.socket, handshake)
	case l.secure && l.plain:
		return n.server.ServeEither(l.socket, handshake)
	case l.secure:
		return n.server.ServeTLS(l.socket, handshake)
	}
	return n.server.Serve(l.socket)
}

// serveMetrics answers who watches this server until it stops. As in etcd the
// client's certificate must name the host that it connects from.
func (n *node) serveMetrics(l listener) error {
	if l.secure {
		return n.server.ServeMetricsTLS(l.socket, n.tls.clients.HandshakeOfHost)
	}
	return n.server.ServeMetrics(l.socket)
}

// watchTLS has new files looked at until ctx ends. A new CA bundle for members
// counts for the connections that this one makes, too.
func (n *node) watchTLS(ctx context.Context) {
	if n.tls.clients != nil {
		go n.tls.clients.Watch(ctx, func() {})
	}
	if n.tls.members == nil {
		return
	}
	go n.tls.members.Watch(ctx, func() {
		n.logger.Info("reconnecting with the members: there is a new CA bundle")
		if err := n.peers.Reconnect(); err != nil {
			n.logger.Warn("cannot reconnect with the members", zap.Error(err))
		}
	})
}

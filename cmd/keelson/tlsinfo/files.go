// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.uber.org/zap"

	"keelson.io/keelson/metrics"
)

// Options of Files. All are required.
type Options struct {
	// Info names the files and the rules.
	Info transport.TLSInfo
	// Prefix is that of the flags that name the files: empty for clients' and
	// "peer-" for those of members.
	Prefix  string
	Logger  *zap.Logger
	Metrics *metrics.TLS
	Clock   clockwork.Clock
}

// Files are what a TLSInfo names, as it is on disk.
type Files struct {
	opts  Options
	front *tls.Config // asks for the newest
	rules *tls.Config // the server's, but for what is in files

	mu         sync.Mutex
	pair       *source[pair]
	clientPair *source[pair]        // nil without
	authority  *source[authority]   // nil without
	revoked    *source[revocations] // nil without
	server     *tls.Config          // made of the newest

	newAuthority chan struct{} // holds a token when there is one
}

// Load reads all files. The errors are about flags.
func Load(opts Options) (*Files, error) {
	f := &Files{opts: opts, newAuthority: make(chan struct{}, 1)}
	f.front = &tls.Config{GetConfigForClient: f.greet}
	f.setSources()
	var faults []error
	for _, s := range f.sources() {
		_, err := s.refresh()
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	var err error
	if f.rules, err = opts.Info.ServerConfig(); err != nil {
		return nil, fmt.Errorf("TLS of --%scert-file: %w", opts.Prefix, err)
	}
	f.rules.SessionTicketsDisabled = true
	f.rules.GetCertificate, f.rules.GetClientCertificate = nil, nil // they read the files
	f.rebuild()
	f.tell()
	return f, nil
}

func (f *Files) setSources() {
	info, flag := &f.opts.Info, func(name string) string { return "--" + f.opts.Prefix + name }
	f.pair = &source[pair]{
		flags: flag("cert-file") + "," + flag("key-file"), paths: []string{info.CertFile, info.KeyFile}, parse: parsePair,
	}
	if info.ClientCertFile != "" {
		f.clientPair = &source[pair]{
			flags: flag("client-cert-file") + "," + flag("client-key-file"),
			paths: []string{info.ClientCertFile, info.ClientKeyFile}, parse: parsePair,
		}
	}
	if info.TrustedCAFile != "" {
		f.authority = &source[authority]{flags: flag("trusted-ca-file"), paths: []string{info.TrustedCAFile}, parse: parseAuthority}
	}
	if info.CRLFile != "" {
		name := flag("crl-file")
		if f.opts.Prefix == "" {
			name = flag("client-crl-file")
		}
		f.revoked = &source[revocations]{flags: name, paths: []string{info.CRLFile}, parse: parseRevocations}
	}
}

// sources are those that there are.
func (f *Files) sources() []interface{ refresh() (bool, error) } {
	all := []interface{ refresh() (bool, error) }{f.pair}
	if f.clientPair != nil {
		all = append(all, f.clientPair)
	}
	if f.authority != nil {
		all = append(all, f.authority)
	}
	if f.revoked != nil {
		all = append(all, f.revoked)
	}
	return all
}

// newest reads the files again and returns the configuration for a connection that
// begins.
func (f *Files) newest() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	anew := false
	for _, s := range f.sources() {
		changed, err := s.refresh()
		if err != nil {
			f.opts.Logger.Warn("cannot use a new TLS file; what was read before stays in use", zap.Error(err))
		}
		if !changed {
			continue
		}
		anew = true
		if s == any(f.authority) {
			select {
			case f.newAuthority <- struct{}{}:
			default: // the one that is told of already will find this one
			}
		}
	}
	if anew {
		f.rebuild()
		f.tell()
	}
	return f.server
}

// rebuild makes the server's configuration of the newest files.
func (f *Files) rebuild() {
	c := f.rules.Clone()
	c.Certificates = []tls.Certificate{*f.pair.value.certificate}
	if f.authority != nil {
		c.ClientCAs = f.authority.value.pool
	}
	if f.revoked != nil {
		revoked := f.revoked.value
		c.VerifyConnection = func(state tls.ConnectionState) error { return revoked.refuse(state.PeerCertificates) }
	}
	f.server = c
}

// tell logs and exports when what is in use ends.
func (f *Files) tell() {
	ends := map[[2]string]time.Time{{"cert-file", f.opts.Info.CertFile}: f.pair.value.ends}
	if f.clientPair != nil {
		ends[[2]string{"client-cert-file", f.opts.Info.ClientCertFile}] = f.clientPair.value.ends
	}
	if f.authority != nil {
		ends[[2]string{"trusted-ca-file", f.opts.Info.TrustedCAFile}] = f.authority.value.ends
	}
	for of, end := range ends {
		use, file := f.opts.Prefix+of[0], of[1]
		f.opts.Metrics.Expiry.WithLabelValues(use, file).Set(float64(end.Unix()))
		log := f.opts.Logger.Info
		if !end.After(f.opts.Clock.Now()) {
			log = f.opts.Logger.Warn
		}
		log("using TLS file", zap.String("use", use), zap.String("file", file), zap.Time("not-after", end))
	}
}

// watchInterval is how long a new file may stay unseen when nobody connects.
const watchInterval = 5 * time.Second

// Watch reads the files again from time to time until ctx ends, for what does not
// begin with a client's connection: figures, and the members that this one
// connects to. It calls onAuthority when there is a new CA bundle.
func (f *Files) Watch(ctx context.Context, onAuthority func()) {
	ticker := f.opts.Clock.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.Chan():
			f.newest()
		case <-f.newAuthority:
			onAuthority()
		}
	}
}

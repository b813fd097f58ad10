// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"testing"

	"keelson.io/keelson/test/harness"
)

// mode is how etcdctl reaches a server, and as whom.
type mode string

const (
	plainMode mode = "plain"
	// tlsMode has both sides show certificates.
	tlsMode mode = "tls"
	// rootMode has authentication enabled, and root ask.
	rootMode mode = "root"
	// tlsRootMode is both.
	tlsRootMode mode = "tls as root"
)

const (
	// certified is the common name of the clients' certificate.
	certified = "certified"
	// rootUser is root with the password that enableAuth gives it.
	rootUser = "root:secret"
)

func (m mode) asRoot() bool { return m == rootMode || m == tlsRootMode }

// access is what a mode comes to: flags of the server and of etcdctl, those of
// make-mirror for a destination of the same kind, and how tests' own clients connect.
type access struct {
	server      harness.Options
	flags, dest []string
}

func (m mode) access(t *testing.T) access {
	t.Helper()
	// What passwords cost is compared elsewhere.
	a := access{server: harness.Options{Name: "node", Args: []string{"--log-level=error", "--bcrypt-cost=4"}}}
	if m == tlsMode || m == tlsRootMode {
		ca := harness.NewAuthority(t, "authority")
		server := ca.Issue(harness.Leaf{CN: "server", Hosts: []string{"127.0.0.1"}})
		client := ca.Issue(harness.Leaf{CN: certified})
		a.server.TLS = ca.Client(client)
		a.server.Args = append(a.server.Args, "--cert-file="+server.CertFile, "--key-file="+server.KeyFile,
			"--trusted-ca-file="+ca.File(), "--client-cert-auth")
		a.flags = []string{"--cacert=" + ca.File(), "--cert=" + client.CertFile, "--key=" + client.KeyFile}
		a.dest = []string{"--dest-cacert=" + ca.File(), "--dest-cert=" + client.CertFile, "--dest-key=" + client.KeyFile,
			"--dest-insecure-transport=false"}
	}
	if m.asRoot() {
		a.flags = append(a.flags, "--user="+rootUser)
		a.dest = append(a.dest, "--dest-user="+rootUser)
	}
	return a
}

// enableAuth makes root the one user of a server.
func enableAuth(t *testing.T, s *harness.Server) {
	t.Helper()
	c := s.Client(t)
	if _, err := c.UserAdd(t.Context(), "root", "secret"); err != nil {
		t.Fatalf("%v: add root: %v", s.Kind(), err)
	}
	if _, err := c.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatalf("%v: grant root: %v", s.Kind(), err)
	}
	if _, err := c.AuthEnable(t.Context()); err != nil {
		t.Fatalf("%v: enable authentication: %v", s.Kind(), err)
	}
}

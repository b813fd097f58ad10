// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"keelson.io/keelson/test/harness"
)

// refusal is what a server prints that does not start with these flags.
func refusal(t *testing.T, binary harness.Binary, dir string, flags []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Build(t, binary), append([]string{"--data-dir=" + dir}, flags...)...)
	cmd.Env = harness.CleanEnviron()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Errorf("%s ended with %v, want an exit code that is not 0", binary, err)
	}
	return strings.ReplaceAll(output.String(), `\"`, `"`) // etcd's lines are JSON
}

// badFlag is a setting that can't be served.
type badFlag struct {
	flags []string
	text  string // of the error, etcd's too unless it starts
	words string // that keelson's line has besides
	alone bool   // etcd starts, and does what nobody means
}

// TestBadSettingsAreRefused starts servers with settings and files that are no use: one clear line, with etcd's words, and
// nothing is written.
func TestBadSettingsAreRefused(t *testing.T) {
	w := newWorld(t)
	other := w.ca.Issue(harness.Leaf{CN: "other"})
	dir := t.TempDir()
	nothing, noise := filepath.Join(dir, "nothing"), filepath.Join(dir, "noise")
	harness.WriteFile(t, noise, []byte("noise"))
	cert, key := "--cert-file="+w.server.CertFile, "--key-file="+w.server.KeyFile
	client := "--listen-client-urls=https://" + harness.Address(harness.FreePort(t))
	members := harness.Address(harness.FreePort(t))
	peer := "--listen-peer-urls=https://" + members
	for name, bad := range map[string]badFlag{
		"no certificate":          {[]string{client}, "TLS key/cert (--cert-file, --key-file) must be provided for client url ", "", false},
		"no key":                  {[]string{client, cert}, "KeyFile and CertFile must both be present[key: , cert: " + w.server.CertFile + "]", "--key-file", false},
		"no certificate of peers": {[]string{peer}, "cannot listen on TLS for " + members + ": KeyFile and CertFile are not presented", "--peer-cert-file", false},
		"no file":                 {[]string{client, "--cert-file=" + nothing, key}, "open " + nothing + ": no such file or directory", "--cert-file", false},
		"no certificate in it":    {[]string{client, "--cert-file=" + noise, key}, "tls: failed to find any PEM data in certificate input", "--cert-file", false},
		"another's key":           {[]string{client, cert, "--key-file=" + other.KeyFile}, "tls: private key does not match public key", "--key-file", false},
		"no bundle":               {[]string{client, cert, key, "--trusted-ca-file=" + nothing}, "open " + nothing + ": no such file or directory", "--trusted-ca-file", false},
		"an old version":          {[]string{"--tls-min-version=TLS1.1"}, `unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)`, "--tls-min-version", false},
		"no version between":      {[]string{"--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"}, "min version (TLS1.3) is greater than max version (TLS1.2)", "", false},
		"suites of TLS 1.3":       {[]string{"--tls-min-version=TLS1.3", "--cipher-suites=TLS_AES_128_GCM_SHA256"}, "cipher suites cannot be configured when only TLS1.3 is enabled", "", false},
		"an unknown suite":        {[]string{"--cipher-suites=TLS_NULL"}, `unexpected TLS cipher suite "TLS_NULL"`, "--cipher-suites", false},
		"no years": {[]string{client, "--auto-tls", "--self-signed-cert-validity=0"},
			"selfSignedCertValidity is invalid,it should be greater than 0", "--self-signed-cert-validity", false},
		"names and hosts": {[]string{peer, "--peer-cert-file=" + w.server.CertFile, "--peer-key-file=" + w.server.KeyFile,
			"--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b"},
			`AllowedCNs and AllowedHostnames are mutually exclusive (cns=["a"], hostnames=["b"])`, "--peer-cert-allowed-cn", false},
		"half a second pair": {[]string{peer, "--peer-cert-file=" + w.server.CertFile, "--peer-key-file=" + w.server.KeyFile, "--peer-client-cert-file=" + other.CertFile},
			"ClientKeyFile and ClientCertFile must both be present or both absent: key: , cert: " + other.CertFile + "]", "--peer-client-key-file", false},

		"no certificate for metrics": {[]string{"--listen-metrics-urls=https://" + harness.Address(harness.FreePort(t))},
			"client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url", "", true},
		"nobody's clients":    {[]string{client, cert, key, "--client-cert-auth"}, "--client-cert-auth needs --trusted-ca-file", "", true},
		"nobody's members":    {[]string{peer, "--peer-auto-tls", "--peer-client-cert-auth"}, "--peer-auto-tls takes every client", "--peer-cert-file", true},
		"no revocation list":  {[]string{client, cert, key, "--client-crl-file=" + nothing}, "open " + nothing, "--client-crl-file", true},
		"noise for a list":    {[]string{client, cert, key, "--client-crl-file=" + noise}, "malformed", "--client-crl-file", true},
		"noise for a bundle":  {[]string{client, cert, key, "--trusted-ca-file=" + noise}, "no certificate", "--trusted-ca-file", true},
		"a pair without need": {[]string{cert}, "KeyFile and CertFile must both be present", "--key-file", true},
	} {
		t.Run(name, func(t *testing.T) {
			flags := append(free(t), bad.flags...)
			data := filepath.Join(t.TempDir(), "data")
			output := refusal(t, harness.KeelsonServer, data, flags)
			lines := strings.Split(strings.TrimSpace(output), "\n")
			if last := lines[len(lines)-1]; !strings.Contains(last, bad.text) || !strings.Contains(last, bad.words) || strings.Contains(output, "goroutine ") {
				t.Errorf("the last line has not %q and %q:\n%s", bad.text, bad.words, output)
			}
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("the data directory was made: %v", err)
			}
			if bad.alone {
				return
			}
			if etcds := refusal(t, harness.EtcdServer, filepath.Join(t.TempDir(), "etcd"), flags); !strings.Contains(etcds, bad.text) {
				t.Errorf("etcd does not say %q:\n%s", bad.text, etcds)
			}
		})
	}
}

// free are flags for a server beside others, which those that follow replace.
func free(t *testing.T) []string {
	t.Helper()
	client, peer := "http://"+harness.Address(harness.FreePort(t)), "http://"+harness.Address(harness.FreePort(t))
	return []string{"--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls=" + peer}
}

// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestWarningsOfTLS wants operators told of settings that do not do what they seem to, and of nothing else.
func TestWarningsOfTLS(t *testing.T) {
	const (
		plainClients   = "scheme is http or unix while key and cert files are present; ignoring key and cert files"
		unaskedClients = "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL"
		plainMembers   = "scheme is HTTP while key and cert files are present; ignoring key and cert files"
		unaskedMembers = "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL"
		madeClients    = "ignoring client auto TLS since certs given"
		madeMembers    = "ignoring peer auto TLS since certs given"
		strangers      = "PEER TRAFFIC IS NOT PROTECTED"
	)
	clients := "--cert-file=c --key-file=k --trusted-ca-file=a --client-cert-auth --advertise-client-urls=http://h:1 "
	members := "--peer-cert-file=c --peer-key-file=k --peer-trusted-ca-file=a --peer-client-cert-auth "
	for flags, want := range map[string][]string{
		"": nil,
		clients + "--listen-client-urls=https://10.0.0.1:1,unixs://s":               nil,
		clients + "--listen-client-urls=http://10.0.0.1:1,https://10.0.0.1:2":       {plainClients, unaskedClients},
		clients + "--listen-client-urls=unix://s":                                   {plainClients, unaskedClients},
		clients + "--listen-client-urls=https://10.0.0.1:1 --auto-tls":              {madeClients},
		members + "--listen-peer-urls=https://10.0.0.1:1":                           nil,
		members + "--listen-peer-urls=http://127.0.0.1:1":                           {plainMembers, unaskedMembers},
		members + "--listen-peer-urls=https://10.0.0.1:1 --peer-auto-tls":           {madeMembers},
		"--listen-peer-urls=http://10.0.0.1:1":                                      {strangers},
		"--listen-peer-urls=https://10.0.0.1:1 --peer-auto-tls":                     {strangers},
		"--listen-peer-urls=https://0.0.0.0:1 --peer-cert-file=c --peer-key-file=k": {strangers},
		"--listen-peer-urls=https://127.0.0.1:1 --peer-auto-tls":                    nil,
	} {
		c, err := parse(strings.Fields(flags), io.Discard)
		if err != nil {
			t.Errorf("%s: %v", flags, err)
			continue
		}
		core, logs := observer.New(zapcore.WarnLevel)
		c.warnOfTLS(zap.New(core))
		var got []string
		for _, line := range logs.All() {
			got = append(got, line.Message)
		}
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", flags, got, want)
		}
	}
}

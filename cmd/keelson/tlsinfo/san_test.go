// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
)

// zone answers questions of names, by maps.
type zone struct {
	addrs map[string][]string // of a name
	names map[string][]string // of an address
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return answer(z.names[addr], addr)
}

func (z zone) LookupHost(_ context.Context, host string) ([]string, error) {
	return answer(z.addrs[host], host)
}

func answer(found []string, name string) ([]string, error) {
	if found == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return found, nil
}

// TestCheckSAN is about names that a test of processes can't have.
func TestCheckSAN(t *testing.T) {
	dns := zone{
		addrs: map[string][]string{"m1.example": {"10.0.0.1", "fd00::1"}, "m2.example": {"10.0.0.2"}},
		names: map[string][]string{"10.0.0.3": {"m3.example."}, "10.0.0.4": {"deep.m4.example."}},
	}
	ip := func(text string) []net.IP { return []net.IP{net.ParseIP(text)} }
	for name, test := range map[string]struct {
		ips    []net.IP
		names  []string
		remote string
		want   string // text of the error
	}{
		"no hosts":                   {nil, nil, "10.0.0.9:1", ""},
		"its address":                {ip("10.0.0.1"), nil, "10.0.0.1:1", ""},
		"its IPv6 address":           {ip("fd00::1"), nil, "[fd00::1]:1", ""},
		"another address":            {ip("10.0.0.1"), nil, "10.0.0.2:1", "x509: certificate is valid for 10.0.0.1, not 10.0.0.2"},
		"its name, forwards":         {nil, []string{"other.example", "m1.example"}, "10.0.0.1:1", ""},
		"its name, IPv6":             {nil, []string{"m1.example"}, "[fd00::1]:1", ""},
		"its name, backwards":        {nil, []string{"m3.example"}, "10.0.0.3:1", ""},
		"another address, its name":  {ip("10.0.0.9"), []string{"m2.example"}, "10.0.0.2:1", ""},
		"its address, another name":  {ip("10.0.0.2"), []string{"m1.example"}, "10.0.0.2:1", ""},
		"a wildcard":                 {nil, []string{"*.example"}, "10.0.0.3:1", ""},
		"a wildcard, two levels":     {nil, []string{"*.example"}, "10.0.0.4:1", ""}, // as in etcd
		"a wildcard is not resolved": {nil, []string{"*.example"}, "10.0.0.1:1", `tls: "10.0.0.1" does not match any of DNSNames ["*.example"] (lookup 10.0.0.1: no such host)`},
		"part of a name":             {nil, []string{"*.ample"}, "10.0.0.3:1", `tls: "10.0.0.3" does not match any of DNSNames ["*.ample"]`},
		"another name":               {nil, []string{"m1.example"}, "10.0.0.2:1", `tls: "10.0.0.2" does not match any of DNSNames ["m1.example"] (lookup 10.0.0.2: no such host)`},
		"no such name":               {nil, []string{"m9.example"}, "10.0.0.3:1", `tls: "10.0.0.3" does not match any of DNSNames ["m9.example"] (lookup m9.example: no such host)`},
		"no port":                    {ip("10.0.0.1"), nil, "10.0.0.1", "address 10.0.0.1: missing port in address"},
	} {
		err := checkSAN(t.Context(), dns, &x509.Certificate{IPAddresses: test.ips, DNSNames: test.names}, test.remote)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

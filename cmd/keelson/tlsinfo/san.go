// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
)

// resolver is what is asked for names and addresses; net.Resolver is one.
type resolver interface {
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// checkSAN wants a certificate that names hosts to name the one at remote, by its
// address or by a name that leads there, forwards or backwards. The rules and texts
// are etcd's.
func checkSAN(ctx context.Context, dns resolver, cert *x509.Certificate, remote string) error {
	if len(cert.IPAddresses) == 0 && len(cert.DNSNames) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return err
	}
	if len(cert.IPAddresses) > 0 {
		err := cert.VerifyHostname(host)
		if err == nil || len(cert.DNSNames) == 0 {
			return err
		}
	}
	found, err := leadsTo(ctx, dns, cert.DNSNames, host)
	if found {
		return nil
	}
	reason := ""
	if err != nil {
		reason = " (" + err.Error() + ")"
	}
	return fmt.Errorf("tls: %q does not match any of DNSNames %q%s", host, cert.DNSNames, reason)
}

// leadsTo says whether one of the names is the host's. The error is that of the
// last question that failed, and may be beside an answer.
func leadsTo(ctx context.Context, dns resolver, names []string, host string) (found bool, err error) {
	own, err := dns.LookupAddr(ctx, host)
	for _, name := range own {
		name = strings.TrimSuffix(name, ".")
		for _, allowed := range names {
			suffix, wildcard := strings.CutPrefix(allowed, "*")
			if wildcard && strings.HasPrefix(suffix, ".") && strings.HasSuffix(name, suffix) || name == allowed {
				return true, nil
			}
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		addrs, failed := dns.LookupHost(ctx, name)
		if failed != nil {
			err = failed
		} else if slices.Contains(addrs, host) {
			return true, nil
		}
	}
	return false, err
}

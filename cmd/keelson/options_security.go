// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"golang.org/x/crypto/bcrypt"

	"keelson.io/keelson/etcdapi/authority"
)

// Sections of the file that hold what is about certificates.
const (
	clientTLSKey = "client-transport-security."
	peerTLSKey   = "peer-transport-security."
)

func (c *config) securityOptions() []option {
	return append([]option{
		{name: "cert-file", key: clientTLSKey + "cert-file", value: value(&c.clientTLS.CertFile, ""), help: "Certificate of this member, for clients at https and unixs URLs."},
		{name: "key-file", key: clientTLSKey + "key-file", value: value(&c.clientTLS.KeyFile, ""), help: "Its key."},
		{name: "client-cert-file", key: clientTLSKey + "client-cert-file", value: value(&c.clientTLS.ClientCertFile, ""), help: "Accepted and checked: this member is no client of its own."},
		{name: "client-key-file", key: clientTLSKey + "client-key-file", value: value(&c.clientTLS.ClientKeyFile, ""), help: "Its key."},
		{name: "client-cert-auth", key: clientTLSKey + "client-cert-auth", value: value(&c.clientTLS.ClientCertAuth, false), help: "Refuse clients without a certificate."},
		{name: "client-crl-file", key: noKey, value: value(&c.clientTLS.CRLFile, ""), help: "List of revoked certificates of clients, DER or PEM."},
		{name: "client-cert-allowed-hostname", key: clientTLSKey + "allowed-hostname", value: textList(&c.clientTLS.AllowedHostnames), help: "Names of which clients' certificates must have one."},
		{name: noFlag, key: clientTLSKey + "allowed-cn", value: textList(&c.clientTLS.AllowedCNs)},
		{name: noFlag, key: clientTLSKey + "skip-client-san-verification", value: value(&c.clientTLS.SkipClientSANVerify, false)},
		{name: "trusted-ca-file", key: clientTLSKey + "trusted-ca-file", value: value(&c.clientTLS.TrustedCAFile, ""), help: "Certificates that clients' are checked with; clients without one are refused."},
		{name: "auto-tls", key: clientTLSKey + "auto-tls", value: value(&c.clientAutoTLS, false), help: "Make a certificate for clients."},
		{name: "self-signed-cert-validity", value: value(&c.selfSignedCertYears, 1), help: "Years for which certificates made by --auto-tls and --peer-auto-tls are valid."},
		{name: "cipher-suites", value: textList(&c.cipherSuites), help: "Cipher suites of TLS, separated by commas; empty: Go's."},
		{name: "tls-min-version", value: value(&c.tlsMinVersion, "TLS1.2"), help: "Lowest version of TLS: TLS1.2 or TLS1.3."},
		{name: "tls-max-version", value: value(&c.tlsMaxVersion, ""), help: "Highest version of TLS; empty: Go's."},
	}, c.peerSecurityOptions()...)
}

func (c *config) peerSecurityOptions() []option {
	return []option{
		{name: "peer-cert-file", key: peerTLSKey + "cert-file", value: value(&c.peerTLS.CertFile, ""), help: "Certificate of this member, for other members."},
		{name: "peer-key-file", key: peerTLSKey + "key-file", value: value(&c.peerTLS.KeyFile, ""), help: "Its key."},
		{name: "peer-client-cert-file", key: peerTLSKey + "client-cert-file", value: value(&c.peerTLS.ClientCertFile, ""), help: "Certificate this member uses as a client of others; empty: --peer-cert-file."},
		{name: "peer-client-key-file", key: peerTLSKey + "client-key-file", value: value(&c.peerTLS.ClientKeyFile, ""), help: "Its key."},
		{name: "peer-client-cert-auth", key: peerTLSKey + "client-cert-auth", value: value(&c.peerTLS.ClientCertAuth, false), help: "Refuse members without a certificate of the trusted authority."},
		{name: "peer-trusted-ca-file", key: peerTLSKey + "trusted-ca-file", value: value(&c.peerTLS.TrustedCAFile, ""), help: "Certificates of the authority that other members' are checked with."},
		{name: "peer-auto-tls", key: peerTLSKey + "auto-tls", value: value(&c.peerAutoTLS, false), help: "Make a certificate for other members."},
		{name: "peer-crl-file", key: noKey, value: value(&c.peerTLS.CRLFile, ""), help: "List of revoked certificates of members, DER or PEM."},
		{name: "peer-cert-allowed-cn", key: peerTLSKey + "allowed-cn", value: textList(&c.peerTLS.AllowedCNs), help: "Common names of which members' certificates must have one."},
		{name: "peer-cert-allowed-hostname", key: peerTLSKey + "allowed-hostname", value: textList(&c.peerTLS.AllowedHostnames), help: "Names of which members' certificates must have one."},
		{name: "peer-skip-client-san-verification", key: peerTLSKey + "skip-client-san-verification", value: value(&c.peerTLS.SkipClientSANVerify, false), help: "Do not compare a member's address with its certificate."},
	}
}

func (c *config) authOptions() []option {
	return []option{
		{name: "auth-token", value: value(&c.authToken, authority.SimpleToken), help: "Kind of tokens and its options: simple, or jwt,sign-method=...,pub-key=...,priv-key=...,ttl=..."},
		{name: "bcrypt-cost", value: value(&c.bcryptCost, uint(bcrypt.DefaultCost)), help: "Cost of hashing passwords, 4 to 31."},
		{name: "auth-token-ttl", value: value(&c.authTokenTTL, 300), help: "Seconds for which a simple token is valid after its last use."},
	}
}

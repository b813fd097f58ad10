// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

// Sections of the file that hold what is about certificates.
const (
	clientTLSKey = "client-transport-security."
	peerTLSKey   = "peer-transport-security."
)

func (c *config) securityOptions() []option {
	return append([]option{
		{name: "cert-file", key: clientTLSKey + "cert-file", value: unused(""), state: missing, help: "Certificate of this member, for clients."},
		{name: "key-file", key: clientTLSKey + "key-file", value: unused(""), state: missing, help: "Its key."},
		{name: "client-cert-file", key: clientTLSKey + "client-cert-file", value: unused(""), state: missing, help: "Certificate this member uses as a client; empty: --cert-file."},
		{name: "client-key-file", key: clientTLSKey + "client-key-file", value: unused(""), state: missing, help: "Its key."},
		{name: "client-cert-auth", key: clientTLSKey + "client-cert-auth", value: unused(false), state: missing, help: "Refuse clients without a certificate."},
		{name: "client-crl-file", key: noKey, value: unused(""), state: missing, help: "List of revoked certificates of clients."},
		{name: "client-cert-allowed-hostname", key: clientTLSKey + "allowed-hostname", value: textList(new([]string)), state: missing, help: "Names of which clients' certificates must have one."},
		{name: "trusted-ca-file", key: clientTLSKey + "trusted-ca-file", value: unused(""), state: missing, help: "Certificates that clients' are checked with."},
		{name: "auto-tls", key: clientTLSKey + "auto-tls", value: unused(false), state: missing, help: "Make a certificate for clients."},
		{name: "self-signed-cert-validity", value: unused[uint](1), state: missing, help: "Years for which certificates made by --auto-tls and --peer-auto-tls are valid."},
		{name: "cipher-suites", value: textList(new([]string)), state: missing, help: "Cipher suites of TLS, separated by commas; empty: Go's."},
		{name: "tls-min-version", value: unused("TLS1.2"), state: missing, help: "Lowest version of TLS: TLS1.2 or TLS1.3."},
		{name: "tls-max-version", value: unused(""), state: missing, help: "Highest version of TLS; empty: Go's."},
	}, c.peerSecurityOptions()...)
}

func (c *config) peerSecurityOptions() []option {
	return []option{
		{name: "peer-cert-file", key: peerTLSKey + "cert-file", value: value(&c.peerTLS.CertFile, ""), help: "Certificate of this member, for other members."},
		{name: "peer-key-file", key: peerTLSKey + "key-file", value: value(&c.peerTLS.KeyFile, ""), help: "Its key."},
		{name: "peer-client-cert-file", key: peerTLSKey + "client-cert-file", value: unused(""), state: missing, help: "Certificate this member uses as a client of others; empty: --peer-cert-file."},
		{name: "peer-client-key-file", key: peerTLSKey + "client-key-file", value: unused(""), state: missing, help: "Its key."},
		{name: "peer-client-cert-auth", key: peerTLSKey + "client-cert-auth", value: value(&c.peerTLS.ClientCertAuth, false), help: "Refuse members without a certificate of the trusted authority."},
		{name: "peer-trusted-ca-file", key: peerTLSKey + "trusted-ca-file", value: value(&c.peerTLS.TrustedCAFile, ""), help: "Certificates of the authority that other members' are checked with."},
		{name: "peer-auto-tls", key: peerTLSKey + "auto-tls", value: unused(false), state: missing, help: "Make a certificate for other members."},
		{name: "peer-crl-file", key: noKey, value: unused(""), state: missing, help: "List of revoked certificates of members."},
		{name: "peer-cert-allowed-cn", key: peerTLSKey + "allowed-cn", value: textList(new([]string)), state: missing, help: "Common names of which members' certificates must have one."},
		{name: "peer-cert-allowed-hostname", key: peerTLSKey + "allowed-hostname", value: textList(new([]string)), state: missing, help: "Names of which members' certificates must have one."},
		{name: "peer-skip-client-san-verification", key: peerTLSKey + "skip-client-san-verification", value: unused(false), state: missing, help: "Do not compare a member's address with its certificate."},
	}
}

func (c *config) authOptions() []option {
	return []option{
		{name: "auth-token", value: unused("simple"), state: missing, help: "Kind of tokens and its options: simple or jwt."},
		{name: "bcrypt-cost", value: unused[uint](10), state: missing, help: "Cost of hashing passwords."},
		{name: "auth-token-ttl", value: unused[uint](300), state: missing, help: "Seconds for which a token is valid after its last use."},
	}
}

// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates, into files of a directory of the test.
type Authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64 // serial number
}

// Leaf is what a certificate says.
type Leaf struct {
	CN    string
	Hosts []string  // names and addresses
	Ends  time.Time // default: in an hour
}

// Pair are the files of a certificate and its key.
type Pair struct {
	CertFile, KeyFile string
	serial            *big.Int
}

// NewAuthority makes an authority, whose certificate is in File.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), key: newKey(t), next: 100}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	a.must(err)
	a.cert, err = x509.ParseCertificate(der)
	a.must(err)
	WriteFile(t, a.File(), a.PEM())
	return a
}

// File is the bundle that has the authority's certificate.
func (a *Authority) File() string { return filepath.Join(a.dir, "ca.crt") }

// PEM is the content of File.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.cert.Raw) }

// Ends is when the authority's certificate does.
func (a *Authority) Ends() time.Time { return a.cert.NotAfter }

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue signs a certificate for servers and clients.
func (a *Authority) Issue(leaf Leaf) Pair {
	a.t.Helper()
	a.next++
	if leaf.Ends.IsZero() {
		leaf.Ends = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: leaf.CN},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: leaf.Ends, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	a.must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	a.must(err)
	dir, err := os.MkdirTemp(a.dir, leaf.CN)
	a.must(err)
	p := Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), template.SerialNumber}
	WriteFile(a.t, p.CertFile, encode("CERTIFICATE", der))
	WriteFile(a.t, p.KeyFile, encode("EC PRIVATE KEY", keyDER))
	return p
}

// Revoke returns a revocation list, in DER.
func (a *Authority) Revoke(pairs ...Pair) []byte {
	a.t.Helper()
	a.next++
	list := &x509.RevocationList{Number: big.NewInt(a.next), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, p := range pairs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.serial, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	a.must(err)
	return der
}

// Client is how a client connects that trusts the authority and shows a certificate, if there is one.
func (a *Authority) Client(certificate ...Pair) *tls.Config {
	a.t.Helper()
	config := &tls.Config{RootCAs: a.Pool()}
	for _, p := range certificate {
		loaded, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
		a.must(err)
		// Given whatever authorities the server asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &loaded, nil }
	}
	return config
}

// RevokePEM is Revoke in PEM.
func (a *Authority) RevokePEM(pairs ...Pair) []byte { return encode("X509 CRL", a.Revoke(pairs...)) }

func (a *Authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatalf("harness: certificates: %v", err)
	}
}

// WriteFile puts a file in the place of another, as a whole.
func WriteFile(t testing.TB, path string, content []byte) {
	t.Helper()
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("harness: make a key: %v", err)
	}
	return key
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

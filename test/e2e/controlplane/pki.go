// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certificateLifetime is long enough for a demo folder to be used again weeks
// later.
const certificateLifetime = 365 * 24 * time.Hour

// identity is a client of the API server: who it is by the common name, what it
// may do by its groups and RBAC's built-in bindings.
type identity struct {
	file       string // file name without extension
	commonName string
	groups     []string
}

var (
	adminIdentity             = identity{"admin", "keelson-admin", []string{"system:masters"}}
	controllerManagerIdentity = identity{"controller-manager", "system:kube-controller-manager", nil}
	schedulerIdentity         = identity{"scheduler", "system:kube-scheduler", nil}
	storeClientIdentity       = identity{storeClientName, "kube-apiserver-etcd-client", nil}
)

// pki is a folder of PEM files. A folder that is complete is used again, so that
// service account tokens and kubeconfigs of an earlier run stay valid.
type pki struct {
	dir string
}

func (p pki) cert(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(p.dir, name+".key") }

// names of the files that are not client identities.
const (
	caName             = "ca"
	servingName        = "apiserver"
	storeName          = "etcd"                  // of the store's members, for clients and each other
	storeClientName    = "apiserver-etcd-client" // of the API server, for the store
	serviceAccountName = "service-accounts"      // key only
)

// ensurePKI makes every key and certificate below dir that is missing or about
// to expire. serviceIP is the cluster address of the kubernetes Service, which
// the serving certificate names beside loopback.
func ensurePKI(dir string, serviceIP net.IP) (pki, error) {
	p := pki{dir: dir}
	if p.usable() {
		return p, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, err
	}
	ca, err := p.newAuthority()
	if err != nil {
		return p, err
	}
	serving := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, serviceIP},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	}
	if err := p.issue(ca, servingName, serving); err != nil {
		return p, err
	}
	member := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "store"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:    []string{"localhost"},
	}
	if err := p.issue(ca, storeName, member); err != nil {
		return p, err
	}
	for _, id := range []identity{storeClientIdentity, adminIdentity, controllerManagerIdentity, schedulerIdentity} {
		client := &x509.Certificate{
			Subject:     pkix.Name{CommonName: id.commonName, Organization: id.groups},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if err := p.issue(ca, id.file, client); err != nil {
			return p, err
		}
	}
	if _, err := p.newKey(serviceAccountName); err != nil {
		return p, err
	}
	return p, nil
}

// storeArgs are a member's flags for TLS, with kubeadm's certificates for clients and members.
func (p pki) storeArgs() []string {
	return []string{
		"--client-cert-auth", "--trusted-ca-file=" + p.cert(caName),
		"--cert-file=" + p.cert(storeName), "--key-file=" + p.key(storeName),
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + p.cert(caName),
		"--peer-cert-file=" + p.cert(storeName), "--peer-key-file=" + p.key(storeName),
	}
}

// clientTLS is for a client that has one of the certificates.
func (p pki) clientTLS(name string) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(p.cert(name), p.key(name))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.cert(caName))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", p.cert(caName))
	}
	return &tls.Config{Certificates: []tls.Certificate{own}, RootCAs: pool}, nil
}

// usable reports whether an earlier run left a whole folder, valid for another
// day. The service accounts' key is written last, so it stands for the rest.
func (p pki) usable() bool {
	if _, err := os.Stat(p.key(serviceAccountName)); err != nil {
		return false
	}
	data, err := os.ReadFile(p.cert(servingName))
	if err != nil {
		return false
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && time.Until(cert.NotAfter) > 24*time.Hour
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (p pki) newAuthority() (authority, error) {
	key, err := p.newKey(caName)
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "keelson-e2e"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	ca := authority{cert: template, key: key} // self-signed: its own parent
	der, err := sign(ca, template, key)
	if err != nil {
		return authority{}, err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return authority{}, err
	}
	return ca, writePEM(p.cert(caName), "CERTIFICATE", der)
}

func (p pki) issue(ca authority, name string, template *x509.Certificate) error {
	key, err := p.newKey(name)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := sign(ca, template, key)
	if err != nil {
		return err
	}
	return writePEM(p.cert(name), "CERTIFICATE", der)
}

func sign(ca authority, template *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber = serial
	template.NotBefore = now.Add(-time.Hour) // clocks differ
	template.NotAfter = now.Add(certificateLifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("certificate of %s: %w", template.Subject, err)
	}
	return der, nil
}

func (p pki) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(p.key(name), "EC PRIVATE KEY", der)
}

// writePEM replaces path, readable by its owner only: keys are among the files.
func writePEM(path, kind string, der []byte) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

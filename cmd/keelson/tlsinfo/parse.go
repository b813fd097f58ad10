// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package tlsinfo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// authority is a CA bundle.
type authority struct {
	pool *x509.CertPool
	ends time.Time // of the certificate that ends first
}

// pair is a certificate with its key.
type pair struct {
	certificate *tls.Certificate
	ends        time.Time // of the certificate of the chain that ends first
}

// revocations are the serial numbers of a revocation list.
type revocations map[string]struct{}

func parsePair(contents [][]byte) (pair, error) {
	certificate, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return pair{}, err
	}
	p := pair{certificate: &certificate}
	for _, der := range certificate.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return pair{}, err
		}
		p.ends = earlier(p.ends, c.NotAfter)
	}
	return p, nil
}

func parseAuthority(contents [][]byte) (authority, error) {
	a := authority{pool: x509.NewCertPool()}
	err := eachBlock(contents[0], func(block *pem.Block) error {
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil {
			a.pool.AddCert(c)
			a.ends = earlier(a.ends, c.NotAfter)
		}
		return err
	})
	if err == nil && a.ends.IsZero() {
		err = errors.New("no certificate in PEM form")
	}
	return a, err
}

// parseRevocations reads what etcd reads, DER, and what most tools write, PEM.
func parseRevocations(contents [][]byte) (revocations, error) {
	revoked := revocations{}
	add := func(der []byte) error {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		for _, entry := range list.RevokedCertificateEntries {
			revoked[serial(entry.SerialNumber)] = struct{}{}
		}
		return nil
	}
	if !bytes.Contains(contents[0], []byte("-----BEGIN")) {
		return revoked, add(contents[0])
	}
	return revoked, eachBlock(contents[0], func(block *pem.Block) error { return add(block.Bytes) })
}

// refuse returns an error if one of a client's certificates is revoked; the text is
// etcd's.
func (r revocations) refuse(certificates []*x509.Certificate) error {
	for _, c := range certificates {
		if _, ok := r[serial(c.SerialNumber)]; ok {
			return fmt.Errorf("transport: certificate serial %x revoked", c.SerialNumber.Bytes())
		}
	}
	return nil
}

func serial(n *big.Int) string { return string(n.Bytes()) }

// eachBlock calls fn for the blocks of a PEM file. A file that ends within one is
// being written.
func eachBlock(text []byte, fn func(*pem.Block) error) error {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if err := fn(block); err != nil {
			return err
		}
		text = rest
	}
	if bytes.Contains(text, []byte("-----BEGIN")) {
		return errors.New("a PEM block is not complete")
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"sync"
	"time"
)

// Many Salesforce clients speak https alone, whatever the instance_url says. With --org-ca the simulated org answers them at
// the address where it answers http.

// orgCertificate makes an authority for this run, writes its certificate to file, and returns one that it has issued for the names of
// this machine. The authority's key is thrown away.
func orgCertificate(file string) (*tls.Config, error) {
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sftoken local"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "simulated org"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leafKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o644); err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}}}, nil
}

// eitherListener takes connections that speak TLS and such that do not.
type eitherListener struct {
	net.Listener
	config *tls.Config
}

func (l eitherListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &eitherConn{Conn: conn, config: l.config}, nil
}

// eitherConn decides by the first byte that the client sends, which a server reads before it writes.
type eitherConn struct {
	net.Conn
	config *tls.Config
	once   sync.Once
	spoken net.Conn // what the client speaks
}

const handshakeRecord = 22 // of TLS: RFC 8446 section 5.1

func (c *eitherConn) Read(b []byte) (int, error) {
	c.once.Do(func() {
		ahead := &aheadConn{c.Conn, bufio.NewReader(c.Conn)}
		c.spoken = ahead
		if first, err := ahead.buffer.Peek(1); err == nil && first[0] == handshakeRecord {
			c.spoken = tls.Server(ahead, c.config)
		}
	})
	return c.spoken.Read(b)
}

func (c *eitherConn) Write(b []byte) (int, error) { return c.spoken.Write(b) }

// aheadConn has been read ahead of.
type aheadConn struct {
	net.Conn
	buffer *bufio.Reader
}

func (c *aheadConn) Read(b []byte) (int, error) { return c.buffer.Read(b) }

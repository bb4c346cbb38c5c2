// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/internal/lab"
)

// The names are compared with those that a real server writes.
func TestOneLine(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	server := lab.StartPostgres(t, lab.PostgresSettings{PKI: p})
	for _, subject := range []pkix.Name{
		{CommonName: "Lab CA", Organization: []string{`Lab, "Inc" <a+b>;\`}},
		{CommonName: " #sp ", Country: []string{"DE"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "ca@lab.test"}}},
		{CommonName: strings.Repeat("very long ", 9), OrganizationalUnit: []string{"Zoë"}},
		{CommonName: "tab\tand " + strings.Repeat("ü", 20), Locality: []string{"#1"}},
	} {
		key := lab.NewKey(t)
		ca := p.Sign(t, &x509.Certificate{Subject: subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, &key.PublicKey)
		clientKey := lab.NewKey(t)
		leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(4711), Subject: pkix.Name{CommonName: "alice"},
			NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}, ca, &clientKey.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		got := issuerSeen(t, server, tls.Certificate{Certificate: [][]byte{leaf, ca.Raw, p.Sub.Raw}, PrivateKey: clientKey})
		made, err := x509.ParseCertificate(leaf)
		if err != nil {
			t.Fatal(err)
		}
		if want := oneLine(made.Issuer); got != want {
			t.Errorf("the server writes %q, and oneLine %q", got, want)
		}
	}
}

func issuerSeen(t *testing.T, server *lab.Postgres, pair tls.Certificate) string {
	t.Helper()
	_, port, err := net.SplitHostPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pgx.ParseConfig("host=127.0.0.1 port=" + port + " user=alice dbname=postgres sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	c.TLSConfig = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var issuer string
	if err := conn.QueryRow(t.Context(), "SELECT issuer_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&issuer); err != nil {
		t.Fatal(err)
	}
	return issuer
}

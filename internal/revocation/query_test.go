// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"golang.org/x/crypto/ocsp"
)

// The structures of RFC 6960 section 4.1.1, as encoding/asn1 writes them.
type testCertID struct {
	Hash      pkix.AlgorithmIdentifier
	Name, Key []byte
	Serial    *big.Int
}

type testRequest struct{ ID testCertID }

type testTBS struct {
	List       []testRequest
	Extensions []pkix.Extension `asn1:"explicit,tag:2,optional,omitempty"`
}

type testQuery struct{ TBS testTBS }

// queryFor makes an OCSPRequest.
func queryFor(ca *x509.Certificate, n int, extensions ...pkix.Extension) []byte {
	id := testCertID{
		Hash: pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		Name: digest(crypto.SHA1, ca.RawSubject), Key: digest(crypto.SHA1, publicKeyBits(ca)), Serial: new(big.Int).SetBytes(serialOf(n)),
	}
	der, err := asn1.Marshal(testQuery{testTBS{List: []testRequest{{id}}, Extensions: extensions}})
	if err != nil {
		panic(err)
	}
	return der
}

func simpleQuery(ca *x509.Certificate, n int) []byte { return queryFor(ca, n) }

func queryWith(ca *x509.Certificate, n int, nonce []byte) []byte {
	value, err := asn1.Marshal(nonce)
	if err != nil {
		panic(err)
	}
	return queryFor(ca, n, pkix.Extension{Id: oidNonce, Value: value})
}

func queryExtended(ca *x509.Certificate, n int, critical bool) []byte {
	return queryFor(ca, n, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: critical, Value: []byte{5, 0}})
}

// lengthOf encodes a length up to 255.
func lengthOf(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	return []byte{0x81, byte(n)}
}

// A request that is read is read as the library of golang.org/x/crypto reads it, and nothing makes it panic.
func FuzzReadQuery(f *testing.F) {
	ca := newCA(f, "Lab CA", newKey(f, "ed25519"))
	f.Add(simpleQuery(ca, 1))
	f.Add(queryWith(ca, 2, make([]byte, 32)))
	f.Add(queryWith(ca, 2, make([]byte, 129)))
	f.Add(queryExtended(ca, 3, true))
	f.Fuzz(func(t *testing.T, der []byte) {
		q, err := readQuery(der)
		if err != nil {
			return
		}
		for _, id := range q.certs {
			if octets, ok := serialOctets(id.serial); ok && len(octets) > 20 {
				t.Errorf("a serial number of %d octets", len(octets))
			}
		}
		other, err := ocsp.ParseRequest(der)
		if err != nil {
			return // it knows fewer hash functions
		}
		if octets, ok := serialOctets(q.certs[0].serial); ok && new(big.Int).SetBytes(octets).Cmp(other.SerialNumber) != 0 {
			t.Errorf("serial %x, and for x/crypto %x", octets, other.SerialNumber)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/problem"
)

// readRequest returns the certificate request in the body of r (section 4.2.1).
func readRequest(w http.ResponseWriter, r *http.Request) (*x509.CertificateRequest, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/pkcs10" {
		return nil, problem.With(fmt.Errorf("%w: the body is not of the type application/pkcs10", tallystick.ErrInvalid),
			"Send a PKCS #10 request as base64 with this Content-Type.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't read the request: %w", tallystick.ErrInvalid, err)
	}
	return parseRequest(body)
}

// parseRequest reads a certificate request as EST carries it.
func parseRequest(body []byte) (*x509.CertificateRequest, error) {
	der, err := decode(body)
	if err != nil {
		return nil, problem.With(fmt.Errorf("%w: the body is not base64", ca.ErrBadCSR),
			"Send the DER of the request as base64, without the BEGIN and END lines of PEM.")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ca.ErrBadCSR, err)
	}
	return csr, nil
}

// decode reads base64 with or without line ends, and nothing else between its
// letters (RFC 8951 section 3.1).
func decode(text []byte) ([]byte, error) {
	text = bytes.Map(func(c rune) rune {
		if c == '\r' || c == '\n' || c == ' ' || c == '\t' {
			return -1
		}
		return c
	}, text)
	der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(der, text)
	return der[:n], err
}

// answer sends DER as base64 without line ends (RFC 8951 section 3.1): the client of
// strongSwan takes them for letters. The header Content-Transfer-Encoding is sent for
// clients from before that document, which has later ones ignore it (section 3.2).
func answer(w http.ResponseWriter, kind string, der []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Transfer-Encoding", "base64")
	text := make([]byte, base64.StdEncoding.EncodedLen(len(der)))
	base64.StdEncoding.Encode(text, der)
	w.Header().Set("Content-Length", strconv.Itoa(len(text))) // strongSwan reads no chunks
	_, _ = w.Write(text)                                      // the client has gone
}

// Object identifiers of messages: RFC 5652 sections 4 and 5.1.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// certificates returns a message that holds certificates and is signed by nobody
// (RFC 5272 section 4.1, a Simple PKI Response).
func certificates(list ...[]byte) ([]byte, error) {
	zero := cbasn1.Tag(0).ContextSpecific().Constructed()
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(zero, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {}) // digest algorithms
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })
				b.AddASN1(zero, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(list, nil)) })
				b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {}) // signers
			})
		})
	})
	return b.Bytes()
}

// caCertificates says what to trust, and by what the roots before and after that are
// linked to it (section 4.1). Anybody may ask.
func (s *Server) caCertificates(w http.ResponseWriter, r *http.Request, authority ca.Authority) error {
	chains, err := s.CA.Alternates(r.Context(), authority.Name)
	if err != nil {
		return err
	}
	list := append([][]byte{authority.Certificate}, authority.Chain...)
	for _, certificate := range slices.Concat(chains...) {
		if !slices.ContainsFunc(list, func(c []byte) bool { return bytes.Equal(c, certificate) }) {
			list = append(list, certificate)
		}
	}
	message, err := certificates(list...)
	if err != nil {
		return err
	}
	answer(w, "application/pkcs7-mime", message)
	return nil
}

// attributes says what keys to make (section 4.5). Anybody may ask.
func (s *Server) attributes(w http.ResponseWriter, _ *http.Request, _ ca.Authority) error {
	der, err := csrAttributes(s.Keys)
	if err != nil {
		return err
	}
	if len(s.Keys) == 0 {
		w.WriteHeader(http.StatusNoContent) // section 4.5.2
		return nil
	}
	answer(w, "application/csrattrs", der)
	return nil
}

// Object identifiers of keys and curves: RFC 5480 section 2.1.1, RFC 8410 section 3,
// RFC 8017 appendix C.
var (
	oidEC      = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256    = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidP384    = asn1.ObjectIdentifier{1, 3, 132, 0, 34}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidRSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// csrAttributes encodes the sort of key to make, the first of keys: a client
// reads a list as "all of these" (RFC 7030 section 4.5.2).
func csrAttributes(keys []string) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		if len(keys) == 0 {
			return
		}
		switch keys[0] {
		case "ecdsa-p256":
			addAttribute(b, oidEC, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidP256) })
		case "ecdsa-p384":
			addAttribute(b, oidEC, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidP384) })
		case "ed25519":
			b.AddASN1ObjectIdentifier(oidEd25519)
		case "rsa-2048", "rsa-3072", "rsa-4096":
			bits := map[string]int64{"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}[keys[0]]
			addAttribute(b, oidRSA, func(b *cryptobyte.Builder) { b.AddASN1Int64(bits) })
		default:
			b.SetError(fmt.Errorf("%w: %q is not a sort of key that EST has a word for", tallystick.ErrInvalid, keys[0]))
		}
	})
	return b.Bytes()
}

func addAttribute(b *cryptobyte.Builder, name asn1.ObjectIdentifier, value cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(name)
		b.AddASN1(cbasn1.SET, value)
	})
}

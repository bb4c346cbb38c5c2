// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// certsOnly is the type of an answer that holds a certificate (section 4.2.3).
const certsOnly = "application/pkcs7-mime; smime-type=certs-only"

// enrol makes a first certificate (section 4.2.1).
func (s *Server) enrol(w http.ResponseWriter, r *http.Request, authority ca.Authority) error {
	who, own, err := s.whoAsks(r, authority)
	if err != nil {
		return err
	}
	csr, err := readRequest(w, r)
	if err != nil {
		return err
	}
	request := ca.Request{Authority: authority.Name, Profile: s.Profile, CSR: csr.Raw, Via: ca.ViaEST}
	if own != nil && covers(own.x509, csr) {
		// Only the names that were compared: a request can hold others, in forms that
		// nobody here reads.
		names := requestedNames(csr)
		request.Proven, request.Names = true, &names
	}
	return s.issue(w, r, who, request)
}

// renew makes a certificate that takes over from that of the client: for the same
// subject and names, with the same profile (section 4.2.2).
func (s *Server) renew(w http.ResponseWriter, r *http.Request, authority ca.Authority) error {
	own, err := s.clientCertificate(r, authority)
	if err != nil {
		return err
	}
	if own == nil {
		return problem.With(fmt.Errorf("%w: there is no client certificate to renew", tallystick.ErrUnsigned),
			"Show the certificate that is to be renewed in the TLS handshake; without one, use simpleenroll.")
	}
	csr, err := readRequest(w, r)
	if err != nil {
		return err
	}
	if err := sameNames(csr, own.x509); err != nil {
		return err
	}
	names := own.issued.Names
	return s.issue(w, r, own.actor(), ca.Request{
		Authority: authority.Name, Profile: own.issued.Profile, CSR: csr.Raw, Names: &names, Via: ca.ViaEST, Proven: true,
		Replaces: own.issued.Serial, Held: true,
	})
}

// issue has the certificate made and sends it.
func (s *Server) issue(w http.ResponseWriter, r *http.Request, who gate.Actor, request ca.Request) error {
	issued, err := s.CA.Issue(r.Context(), who, request)
	if err != nil {
		return err
	}
	message, err := certificates(issued.DER)
	if err != nil {
		return err
	}
	answer(w, certsOnly, message)
	return nil
}

// whoAsks returns who sends a request, and the certificate that says so, if it is
// one. Credentials of HTTP are asked first: a device that was given a token may
// show a certificate as well.
func (s *Server) whoAsks(r *http.Request, authority ca.Authority) (gate.Actor, *client, error) {
	if _, password, ok := r.BasicAuth(); ok {
		// The user's name says nothing that the token does not.
		who, err := s.Access.Token(r.Context(), password, hostOf(r.RemoteAddr))
		return who, nil, err
	}
	own, err := s.clientCertificate(r, authority)
	if err != nil {
		return gate.Actor{}, nil, err
	}
	if own == nil {
		return gate.Actor{}, nil, problem.With(fmt.Errorf("%w: neither a client certificate nor a password was sent", tallystick.ErrUnsigned),
			"Send an API token as the password of HTTP Basic, or show a certificate of this CA.")
	}
	if !slices.Contains(own.x509.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return gate.Actor{}, nil, problem.With(fmt.Errorf("%w: the certificate is not for client authentication", tallystick.ErrDenied),
			"It can be renewed with simplereenroll; for another one, use a certificate with this purpose or an API token.")
	}
	return own.actor(), own, nil
}

// hostOf returns the address without its port, as the record has it.
func hostOf(remote string) string {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return ap.Addr().Unmap().String()
	}
	return remote
}

// A client is who showed a certificate of ours.
type client struct {
	x509   *x509.Certificate
	issued ca.Certificate
}

// actor returns whom the certificate names. It is never who once asked for it:
// the certificate of a machine does not stand for the person that ordered it.
func (c *client) actor() gate.Actor {
	name := c.x509.Subject.CommonName
	if all := c.issued.Names.All(); len(all) > 0 {
		name = all[0]
	}
	return gate.Actor{Name: "est/" + name, Role: gate.Client, Via: "certificate " + string(c.issued.Serial)}
}

// clientCertificate returns the certificate that the client showed, if it is one of
// ours that is good; nil when it showed none. TLS has shown that the client has its
// key. The certificate is compared with what was issued and not verified up to
// a root: nothing else can be what was issued.
func (s *Server) clientCertificate(r *http.Request, authority ca.Authority) (*client, error) {
	if len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	shown := r.TLS.PeerCertificates[0]
	issued, err := s.CA.Find(r.Context(), ca.SerialOf(shown.SerialNumber))
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) {
		return nil, fmt.Errorf("%w: the client certificate was not issued here", tallystick.ErrUnsigned)
	}
	if err != nil {
		return nil, err
	}
	if err := s.good(shown, issued); err != nil {
		return nil, err
	}
	// Whoever has a key that is blocked must not get a fresh one for it.
	if err := s.CA.KeyRefused(r.Context(), issued.Key); errors.Is(err, ca.ErrBadKey) {
		return nil, fmt.Errorf("%w: the key of the client certificate is refused: %w", tallystick.ErrUnsigned, err)
	} else if err != nil {
		return nil, err
	}
	if ok, err := s.succeeds(r.Context(), authority, issued.Authority); err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("%w: the client certificate is of the CA %s, which is not %s or one that it took over from",
			tallystick.ErrDenied, issued.Authority, authority.Name))
	}
	return &client{x509: shown, issued: issued}, nil
}

// succeeds says whether an authority is another one, or took over from it: whoever
// has a certificate of the earlier one renews it here. One that nobody should
// trust any more lets nobody in.
func (s *Server) succeeds(ctx context.Context, authority ca.Authority, earlier string) (bool, error) {
	list, err := s.CA.Authorities(ctx)
	if err != nil {
		return false, err
	}
	for range list { // each step goes to an earlier generation
		if authority.State == ca.Distrusted || authority.State == ca.Compromised {
			return false, nil
		}
		if authority.Name == earlier {
			return true, nil
		}
		i := slices.IndexFunc(list, func(a ca.Authority) bool { return a.Name == authority.Follows })
		if i < 0 {
			return false, nil
		}
		authority = list[i]
	}
	return false, nil
}

// good says why a client certificate is not to be believed, or nil.
func (s *Server) good(shown *x509.Certificate, issued ca.Certificate) error {
	sum := sha256.Sum256(shown.Raw)
	now := s.Now()
	switch {
	case issued.SHA256 != hex.EncodeToString(sum[:]):
		return fmt.Errorf("%w: the client certificate was not issued here", tallystick.ErrUnsigned)
	case issued.Revocation != nil:
		return fmt.Errorf("%w: the client certificate was revoked", tallystick.ErrUnsigned)
	case now.Before(shown.NotBefore) || now.After(shown.NotAfter):
		return problem.With(fmt.Errorf("%w: the client certificate is not valid now", tallystick.ErrUnsigned),
			"Enrol again with an API token.")
	}
	return nil
}

// sameNames refuses a request for another subject or other names than those of the
// certificate that it renews (section 4.2.2). A request without names asks for the same.
func sameNames(csr *x509.CertificateRequest, own *x509.Certificate) error {
	asked, had := namesOfRequest(csr), namesOf(own)
	if csr.Subject.String() == own.Subject.String() && within(asked, had) && (len(asked) == 0 || within(had, asked)) {
		return nil
	}
	return problem.With(fmt.Errorf("%w: the request is for %q with the names %s; the certificate is for %q with the names %s", ca.ErrBadName,
		csr.Subject, strings.Join(asked, ", "), own.Subject, strings.Join(had, ", ")),
		"Renew with the same subject and names, or ask for new ones with simpleenroll.")
}

// covers says whether a request is for nothing that the certificate is not for.
func covers(own *x509.Certificate, csr *x509.CertificateRequest) bool {
	cn := csr.Subject.CommonName
	return within(namesOfRequest(csr), namesOf(own)) && (cn == "" || cn == own.Subject.CommonName || slices.Contains(namesOf(own), "dns:"+strings.ToLower(cn)))
}

// requestedNames returns the names of a request.
func requestedNames(csr *x509.CertificateRequest) ca.Names {
	names := ca.Names{CommonName: csr.Subject.CommonName, DNS: csr.DNSNames, Emails: csr.EmailAddresses, URIs: textsOf(csr.URIs)}
	for _, ip := range csr.IPAddresses {
		if address, ok := netip.AddrFromSlice(ip); ok {
			names.IPs = append(names.IPs, address.Unmap())
		}
	}
	return names
}

// namesOf returns the names of a certificate besides its subject, in a form that
// can be compared.
func namesOf(c *x509.Certificate) []string {
	return texts(c.DNSNames, c.EmailAddresses, textsOf(c.IPAddresses), textsOf(c.URIs))
}

// namesOfRequest does it for a request. The common name counts only in so far as the
// subjects are compared, which they are.
func namesOfRequest(c *x509.CertificateRequest) []string {
	return texts(c.DNSNames, c.EmailAddresses, textsOf(c.IPAddresses), textsOf(c.URIs))
}

func textsOf[T fmt.Stringer](values []T) []string {
	var list []string
	for _, v := range values {
		list = append(list, v.String())
	}
	return list
}

func texts(dns, mails, ips, uris []string) []string {
	var all []string
	for _, name := range dns {
		all = append(all, "dns:"+strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	for _, mail := range mails {
		all = append(all, "email:"+mail)
	}
	for _, ip := range ips {
		all = append(all, "ip:"+ip)
	}
	for _, uri := range uris {
		all = append(all, "uri:"+uri)
	}
	return all
}

// within says whether every one of some names is among others.
func within(some, others []string) bool {
	return !slices.ContainsFunc(some, func(name string) bool { return !slices.Contains(others, name) })
}

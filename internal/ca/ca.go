// SPDX-License-Identifier: Apache-2.0

// Package ca is the private CA: hierarchies of authorities, what they may sign,
// and the one way to a certificate, whatever protocol asked for it.
//
// That way is: key, names and lifetime are looked at, and what nobody could have is
// refused; the policy decides, and may ask for somebody's word first; a key that is
// blocked or known to be in other hands is refused; the gate records the decision; the
// certificate is made from the profile, never from what the requester would like to
// have in it; it is linted, signed, stored, and only then leaves. A certificate that was
// signed and not stored is given to nobody. Protocols (packages acme, est, sshca,
// spiffe) show who asks and what was proven; they decide nothing.
package ca

import (
	"crypto"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/tallystick/tallystick"
)

// How a request came in; see Request.Via.
const (
	ViaAPI     = "api"
	ViaLocal   = "local" // a command beside the server
	ViaACME    = "acme"
	ViaEST     = "est"
	ViaSSH     = "ssh"
	ViaSPIFFE  = "spiffe"
	ViaRenewal = "renewal"
)

// Kinds of authorities.
const (
	KindX509 = "x509"
	KindSSH  = "ssh"
)

// States of an authority.
const (
	Pending     = "pending"     // waits for the certificate of a parent that is offline
	Prepared    = "prepared"    // to be trusted, signs nothing yet: a rollover has begun
	Active      = "active"      // signs
	Retired     = "retired"     // signs nothing but CRLs
	Distrusted  = "distrusted"  // to be taken out of every trust store
	Compromised = "compromised" // its key is not its own any more
)

// A Serial names a certificate over all authorities: 32 hexadecimal digits, or 16
// of an SSH certificate. It begins with the time, so that what is signed later is
// stored later; 80 bits of it, 32 of SSH, are random (RFC 5280 section 4.1.2.2 wants it unique,
// CA/Browser Forum Baseline Requirements section 7.1 want 64 random bits).
type Serial string

// Bytes returns the octets; nil for a serial that is none.
func (s Serial) Bytes() []byte {
	b, err := hex.DecodeString(string(s))
	if err != nil {
		return nil
	}
	return b
}

// Names are what a certificate is for.
type Names struct {
	CommonName string       `json:"common_name,omitempty"`
	DNS        []string     `json:"dns,omitempty"`
	IPs        []netip.Addr `json:"ips,omitempty"`
	Emails     []string     `json:"emails,omitempty"`
	URIs       []string     `json:"uris,omitempty"`
	Principals []string     `json:"principals,omitempty"` // of SSH certificates, and Kerberos names (user@REALM)
}

// All returns every name once, as text.
func (n Names) All() []string {
	var all []string
	all = append(all, n.DNS...)
	for _, ip := range n.IPs {
		all = append(all, ip.String())
	}
	all = append(all, n.Emails...)
	all = append(all, n.URIs...)
	all = append(all, n.Principals...)
	if len(all) == 0 && n.CommonName != "" {
		all = append(all, n.CommonName)
	}
	return all
}

// A Request asks for one certificate.
type Request struct {
	Authority string           `json:"authority,omitempty"` // "" is the one that the profile names, or the only active one
	Profile   string           `json:"profile,omitempty"`   // "" is "server"
	CSR       []byte           `json:"csr,omitempty"`       // PKCS #10, DER; its signature is checked
	PublicKey crypto.PublicKey `json:"-"`                   // in place of a CSR where its possession was shown otherwise
	Names     *Names           `json:"names,omitempty"`     // in place of those of the CSR
	Lifetime  time.Duration    `json:"lifetime,omitempty"`  // 0 is that of the profile
	Via       string           `json:"via"`
	Proven    bool             `json:"proven,omitempty"`  // the requester has shown control of every name
	Binding   string           `json:"binding,omitempty"` // of ACME: the external account
	Replaces  Serial           `json:"replaces,omitempty"`
	Held      bool             `json:"held,omitempty"` // the requester has shown the key of the certificate that it replaces
	// Options are what a protocol keeps with the request, by name: they tell one that
	// waits from another for the same.
	Options map[string]string `json:"options,omitempty"`
}

// A Certificate is one that was issued.
type Certificate struct {
	Serial     Serial           `json:"serial"`
	Authority  string           `json:"authority"`
	Profile    string           `json:"profile"`
	Via        string           `json:"via"`
	Requester  string           `json:"requester"`
	Subject    string           `json:"subject"`
	Names      Names            `json:"names"`
	Key        tallystick.KeyID `json:"key"`
	SHA256     string           `json:"sha256"`
	DER        []byte           `json:"-"` // of SSH: wire format
	Chain      [][]byte         `json:"-"` // DER, from its issuer on, without the root
	Issued     time.Time        `json:"issued"`
	NotBefore  time.Time        `json:"not_before"`
	NotAfter   time.Time        `json:"not_after"`
	Replaces   Serial           `json:"replaces,omitempty"`
	Replaced   time.Time        `json:"replaced,omitzero"`
	Recalled   time.Time        `json:"recalled,omitzero"`
	RecallURL  string           `json:"recall_url,omitempty"`
	Asked      time.Time        `json:"asked,omitzero"` // when its client last asked for its renewal window
	Revocation *Revocation      `json:"revocation,omitempty"`
}

// A Revocation says since when and why a certificate is not to be trusted.
type Revocation struct {
	At           time.Time `json:"at"`
	Reason       Reason    `json:"reason"`
	InvalidSince time.Time `json:"invalid_since,omitzero"`
	By           string    `json:"by"`
	Note         string    `json:"note,omitempty"`
}

// A Window is when a certificate should be renewed (RFC 9773 section 4.2).
type Window struct {
	Start, End  time.Time
	Explanation string        // a URL for people; "" without one
	Retry       time.Duration // ask again after
}

// Errors of Issue that protocols have words for. Each is also ErrInvalid or ErrDenied.
var (
	ErrBadKey  = fmt.Errorf("%w: the key cannot be certified", tallystick.ErrInvalid)
	ErrBadCSR  = fmt.Errorf("%w: the certificate request cannot be used", tallystick.ErrInvalid)
	ErrBadName = fmt.Errorf("%w: a name cannot be certified", tallystick.ErrInvalid)
)

// A Waiting is the error of a request that needs somebody's word first.
type Waiting struct{ Request int64 }

func (w *Waiting) Error() string {
	return fmt.Sprintf("request %d waits for approval", w.Request)
}

// Unwrap makes it ErrDenied for those who do not care why.
func (w *Waiting) Unwrap() error { return tallystick.ErrDenied }

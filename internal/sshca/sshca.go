// SPDX-License-Identifier: Apache-2.0

// Package sshca makes certificates for SSH, as OpenSSH has them (PROTOCOL.certkeys):
// of users, which servers accept for the names of accounts in them, and of hosts,
// which clients accept for the names of machines. It also keeps the list of what is
// not to be accepted any more (a KRL, PROTOCOL.krl).
//
// Whether somebody may have a certificate is for package ca to decide, which also
// keeps what was signed. Here stands what such a certificate looks like.
package sshca

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// The profiles of requests that name none.
const (
	UserProfile = "ssh-user"
	HostProfile = "ssh-host"
)

// skew is how much later than ours the clock of a server may be.
const skew = 5 * time.Minute

// Authorities is what this package needs of package ca: *ca.CA.
type Authorities interface {
	Admit(ctx context.Context, who gate.Actor, request ca.Request) (ca.Admission, error)
	Keep(ctx context.Context, made ca.Certificate) error
	Signer(ctx context.Context, name string) (ca.Authority, crypto.Signer, error)
	Authorities(ctx context.Context) ([]ca.Authority, error)
}

// SSH makes certificates and lists. Make one with New; its methods are safe to call
// from several goroutines.
type SSH struct {
	ca  Authorities
	db  *store.DB
	now func() time.Time

	mu   sync.Mutex
	list List      // guarded by mu; as it was at read
	read time.Time // guarded by mu
}

// New returns the SSH side of the authorities.
func New(authorities Authorities, db *store.DB, now func() time.Time) *SSH {
	return &SSH{ca: authorities, db: db, now: now}
}

// A SignRequest asks for one certificate.
type SignRequest struct {
	Key       string        // public key, as a line of authorized_keys or a .pub file
	Host      bool          // of a host, in place of a user
	Authority string        // "" is the only one that signs SSH certificates
	Profile   string        // "" is UserProfile or HostProfile
	Names     []string      // accounts that a user may become, or names and addresses of a host
	Lifetime  time.Duration // 0 is that of the profile
	// Of users only: where they may come from, as addresses or blocks with commas
	// between them; the one command that they may run; and which of the profile's
	// extensions they get, with commas between them ("none" for none, "" for all).
	SourceAddress string
	ForceCommand  string
	Extensions    string
}

// Signed is what came of a request.
type Signed struct {
	Certificate ca.Certificate
	Line        string // as the file KEY-cert.pub has it
	KeyID       string // by which servers log it
}

// Sign makes a certificate. It is stored when Sign returns it.
func (s *SSH) Sign(ctx context.Context, who gate.Actor, r SignRequest) (Signed, error) {
	key, comment, err := ParseKey([]byte(r.Key))
	if err != nil {
		return Signed{}, err
	}
	names, err := principals(r)
	if err != nil {
		return Signed{}, err
	}
	admission, err := s.ca.Admit(ctx, who, r.request(key, names))
	if _, waits := errors.AsType[*ca.Waiting](err); waits {
		// The request as it is kept has no key (ca.Request.PublicKey), so nobody could approve it.
		return Signed{}, problem.With(fmt.Errorf("%w: the policy asks for approval, and requests for SSH certificates cannot wait", tallystick.ErrDenied),
			"Have somebody sign who needs no approval, or change the rule.")
	}
	if err != nil {
		return Signed{}, err
	}
	permissions, err := r.permissions(admission.Profile)
	if err != nil {
		return Signed{}, err
	}
	_, signer, err := s.ca.Signer(ctx, admission.Authority.Name)
	if err != nil {
		return Signed{}, err
	}
	made, certificate, err := sign(signer, key, admission, permissions)
	if err != nil {
		return Signed{}, err
	}
	if err := s.ca.Keep(ctx, made); err != nil {
		return Signed{}, err
	}
	return Signed{Certificate: made, Line: line(certificate, comment), KeyID: certificate.KeyId}, nil
}

// request is what package ca is asked. Possession of the key is not shown, and need
// not be: a certificate is of no use to whoever does not have it.
func (r SignRequest) request(key ssh.PublicKey, names []string) ca.Request {
	profile := r.Profile
	if profile == "" {
		profile = UserProfile
		if r.Host {
			profile = HostProfile
		}
	}
	options := map[string]string{}
	for name, value := range map[string]string{"source-address": r.SourceAddress, "force-command": r.ForceCommand, "extensions": r.Extensions} {
		if value != "" {
			options[name] = value
		}
	}
	return ca.Request{
		Authority: r.Authority, Profile: profile, PublicKey: key.(ssh.CryptoPublicKey).CryptoPublicKey(), // ParseKey returns no others
		Names: &ca.Names{Principals: names}, Lifetime: r.Lifetime, Via: ca.ViaSSH, Options: options,
	}
}

// sign makes the certificate that was admitted.
func sign(signer crypto.Signer, key ssh.PublicKey, a ca.Admission, p ssh.Permissions) (ca.Certificate, *ssh.Certificate, error) {
	serial := binary.BigEndian.Uint64(a.Serial.Bytes()) // of kind ssh: 8 bytes
	made := ca.Certificate{
		Serial: a.Serial, Authority: a.Authority.Name, Profile: a.Profile.Name, Via: a.Via, Requester: a.Who.Name, Names: a.Names,
		Key: a.Key(), Issued: a.Now, NotBefore: a.Now.Add(-skew).Truncate(time.Second), NotAfter: a.Now.Add(a.Lifetime).Truncate(time.Second),
	}
	// Servers log the key id: it leads from a login to whoever asked for it.
	certificate := &ssh.Certificate{
		Key: key, Serial: serial, CertType: ssh.HostCert, KeyId: a.Who.Name + "/" + string(made.Serial), ValidPrincipals: a.Names.Principals,
		ValidAfter: uint64(made.NotBefore.Unix()), ValidBefore: uint64(made.NotAfter.Unix()), Permissions: p,
	}
	if isUser(a.Profile) {
		certificate.CertType = ssh.UserCert
	}
	made.Subject = certificate.KeyId
	by, err := ssh.NewSignerFromSigner(signer)
	if err != nil {
		return made, nil, fmt.Errorf("couldn't use the key of the CA %s: %w", a.Authority.Name, err)
	}
	if err := certificate.SignCert(rand.Reader, by); err != nil { // RSA keys sign with SHA-2
		return made, nil, fmt.Errorf("couldn't sign: %w", err)
	}
	made.DER = certificate.Marshal()
	sum := sha256.Sum256(made.DER)
	made.SHA256 = hex.EncodeToString(sum[:])
	return made, certificate, nil
}

// isUser says whether a profile is of users: those have extensions, hosts have none.
func isUser(p ca.Profile) bool { return len(p.OfSSH) > 0 }

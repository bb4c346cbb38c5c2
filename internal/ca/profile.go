// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A Profile says what certificates of one sort are for. Everything that is in a
// certificate comes from its profile and from names and key of the request; what
// else a request asks for is not looked at.
type Profile struct {
	Name        string
	About       string
	Kind        string // KindX509 or KindSSH
	Authority   string // that signs it; "" is the one that is asked
	Usage       x509.KeyUsage
	Purposes    []x509.ExtKeyUsage
	MorePurpose []asn1.ObjectIdentifier
	Accepts     []string // sorts of names: "dns", "ip", "email", "uri", "principal", "common-name"
	Lifetime    time.Duration
	MaxLifetime time.Duration
	Keys        []string // sorts of keys; empty: all that are not weak
	Approval    bool
	// OfSSH are the extensions of an SSH certificate for a user.
	OfSSH []string
}

const day = 24 * time.Hour

// Purposes that crypto/x509 has no name for (RFC 4556 section 3.2.4 and 3.2.2).
var (
	purposeKDC    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 3, 5}
	purposePKINIT = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 3, 4}
)

// BuiltInProfiles are there without any configuration. Lifetimes are short, so that a
// certificate that is lost is not lost for long.
func BuiltInProfiles() []Profile {
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	sign := x509.KeyUsageDigitalSignature
	return []Profile{
		{Name: "server", About: "A TLS server", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{server},
			Accepts: []string{"dns", "ip"}, Lifetime: 47 * day, MaxLifetime: 200 * day},
		{Name: "client", About: "A program that signs in to TLS servers", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{client},
			Accepts: []string{"dns", "ip", "email", "uri", "common-name"}, Lifetime: 7 * day, MaxLifetime: 100 * day},
		{Name: "mutual", About: "A program that is TLS server and client", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{server, client},
			Accepts: []string{"dns", "ip", "uri", "common-name"}, Lifetime: 7 * day, MaxLifetime: 100 * day},
		{Name: "smtp", About: "A mail server, which also delivers to others", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{server, client},
			Accepts: []string{"dns", "ip"}, Lifetime: 47 * day, MaxLifetime: 200 * day},
		{Name: "postgresql", About: "A role of PostgreSQL: its name is the common name", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{client},
			Accepts: []string{"common-name", "dns"}, Lifetime: 7 * day, MaxLifetime: 100 * day},
		{Name: "pkinit", About: "A Kerberos principal (RFC 4556)", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{client},
			MorePurpose: []asn1.ObjectIdentifier{purposePKINIT}, Accepts: []string{"principal", "common-name"}, Lifetime: 7 * day, MaxLifetime: 100 * day},
		{Name: "kdc", About: "A key distribution centre of Kerberos (RFC 4556)", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{server},
			MorePurpose: []asn1.ObjectIdentifier{purposeKDC}, Accepts: []string{"dns", "principal"}, Lifetime: 47 * day, MaxLifetime: 200 * day},
		{Name: "spiffe", About: "A workload with a SPIFFE identity (X.509-SVID)", Kind: KindX509, Usage: sign, Purposes: []x509.ExtKeyUsage{server, client},
			Accepts: []string{"uri", "dns"}, Lifetime: time.Hour, MaxLifetime: day},
		{Name: "ssh-user", About: "Somebody who signs in by SSH", Kind: KindSSH, Accepts: []string{"principal"}, Lifetime: 16 * time.Hour, MaxLifetime: 7 * day,
			OfSSH: []string{"permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"}},
		{Name: "ssh-host", About: "An SSH server", Kind: KindSSH, Accepts: []string{"principal"}, Lifetime: 30 * day, MaxLifetime: 100 * day},
	}
}

// Extended returns the built-in profiles with more beside them, or in their place.
// Each of more names in Like the profile that it begins with.
func Extended(more []ProfileChange) ([]Profile, error) {
	profiles := BuiltInProfiles()
	for _, m := range more {
		like := cmp.Or(m.Like, m.Name)
		i := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == like })
		if i < 0 {
			return nil, problem.With(fmt.Errorf("%w: profile %s: there is no profile %q to begin with", tallystick.ErrInvalid, m.Name, like),
				"set like to one of "+strings.Join(profileNames(profiles), ", "))
		}
		p := m.apply(profiles[i])
		if p.Lifetime > p.MaxLifetime {
			p.MaxLifetime = p.Lifetime
		}
		if at := slices.IndexFunc(profiles, func(p Profile) bool { return p.Name == m.Name }); at >= 0 {
			profiles[at] = p
		} else {
			profiles = append(profiles, p)
		}
	}
	return profiles, nil
}

// A ProfileChange is what a configuration says of a profile; what is zero stays.
type ProfileChange struct {
	Name, Like, Authority string
	Lifetime, MaxLifetime time.Duration
	Keys                  []string
	Approval              bool
}

func (m ProfileChange) apply(p Profile) Profile {
	p.Name = m.Name
	p.Authority = cmp.Or(m.Authority, p.Authority)
	p.Lifetime = cmp.Or(m.Lifetime, p.Lifetime)
	p.MaxLifetime = cmp.Or(m.MaxLifetime, p.MaxLifetime)
	if len(m.Keys) > 0 {
		p.Keys = m.Keys
	}
	p.Approval = p.Approval || m.Approval
	return p
}

func profileNames(profiles []Profile) []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}

// DefaultProfile is what is asked for by requests that name none.
const DefaultProfile = "server"

// Profiles returns what can be asked for.
func (c *CA) Profiles() []Profile { return c.Config.Profiles }

// profile finds one.
func (c *CA) profile(name string) (Profile, error) {
	name = cmp.Or(name, DefaultProfile)
	i := slices.IndexFunc(c.Config.Profiles, func(p Profile) bool { return p.Name == name })
	if i < 0 {
		return Profile{}, problem.With(fmt.Errorf("%w: there is no profile %q", tallystick.ErrInvalid, name), "it is one of "+strings.Join(profileNames(c.Config.Profiles), ", "))
	}
	return c.Config.Profiles[i], nil
}

// accepts says whether a certificate may hold a sort of name.
func (p Profile) accepts(sort string) bool { return slices.Contains(p.Accepts, sort) }

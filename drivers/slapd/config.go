// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	configDN  = "cn=config"
	patience  = 30 * time.Second // for one answer, and for what a change takes
	byteLimit = 64 << 20         // of all answers of one session
)

// The attributes of cn=config (slapd-config(5)).
const (
	attrCert   = "olcTLSCertificateFile"
	attrKey    = "olcTLSCertificateKeyFile"
	attrCA     = "olcTLSCACertificateFile"
	attrList   = "olcTLSCRLFile"
	attrVerify = "olcTLSVerifyClient"
	attrRules  = "olcAuthzRegexp"
	attrCSN    = "entryCSN"
)

// A session is a connection to slapd over LDAPI, signed in.
type session struct{ *ldap.Conn }

// settings are what cn=config says about TLS.
type settings struct {
	cert, key, ca, list string // files; "" where none is named
	verify              string // "never", "allow", "try", "demand"
	rules               []string
	changed             time.Time // when cn=config was changed last
}

// dial signs in. The session ends with ctx.
func (d *door) dial(ctx context.Context, h driver.Host) (*session, error) {
	conn, err := h.Dial(ctx, "unix", d.Socket)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't reach slapd at %s: %w", tallystick.ErrUnavailable, d.Socket, err)
	}
	s := &session{ldap.NewConn(network.Ending(ctx, network.Limited(conn, byteLimit)), false)}
	s.Start()
	s.SetTimeout(patience)
	if err := s.ExternalBind(); err != nil {
		s.Close()
		return nil, answered("couldn't sign in to slapd over "+d.Socket, err)
	}
	return s, nil
}

// answered makes an error of what slapd said. LDAPResultOther is what it says of files that it cannot use.
func answered(doing string, err error) error {
	kind := tallystick.ErrInvalid
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultOther):
	case ldap.IsErrorWithCode(err, ldap.LDAPResultAuthMethodNotSupported):
		kind = tallystick.ErrDenied
	default:
		return ldapdir.Answered(doing, err)
	}
	return fmt.Errorf("%w: %s: %s", kind, doing, network.Clean(err.Error()))
}

func (s *session) search(base string, scope int, filter string, attributes ...string) ([]*ldap.Entry, error) {
	found, err := s.Search(ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 0, int(patience/time.Second), false, filter, attributes, nil))
	if err != nil {
		return nil, err
	}
	return found.Entries, nil
}

// settings reads them.
func (s *session) settings() (settings, error) {
	entries, err := s.search(configDN, ldap.ScopeBaseObject, "(objectClass=olcGlobal)", attrCert, attrKey, attrCA, attrList, attrVerify, attrRules, attrCSN)
	if err == nil && len(entries) != 1 {
		err = ldap.NewError(ldap.LDAPResultInsufficientAccessRights, errors.New("it shows no entry"))
	}
	if err != nil {
		return settings{}, answered("couldn't read cn=config", err)
	}
	e := entries[0]
	now := settings{
		cert: e.GetAttributeValue(attrCert), key: e.GetAttributeValue(attrKey), ca: e.GetAttributeValue(attrCA), list: e.GetAttributeValue(attrList),
		verify: e.GetAttributeValue(attrVerify), rules: e.GetAttributeValues(attrRules),
	}
	// A CSN begins with the time in microseconds: 20261122191332.634868Z#000000#000#000000.
	csn := e.GetAttributeValue(attrCSN)
	if now.changed, err = time.Parse("20060102150405.999999Z", csn[:min(len(csn), 22)]); err != nil {
		return settings{}, fmt.Errorf("%w: cn=config has no time of its last change in %s", tallystick.ErrInvalid, attrCSN)
	}
	return now, nil
}

// A setting is one attribute of cn=config and its value; "" removes it.
type setting struct{ attribute, value string }

// set sets attributes of cn=config, in one change: then slapd reads all files of TLS
// again. What was set already has to be set too, or nothing is read.
func (s *session) set(all ...setting) error {
	request := ldap.NewModifyRequest(configDN, nil)
	for _, one := range all {
		if one.value == "" {
			request.Replace(one.attribute, nil)
		} else {
			request.Replace(one.attribute, []string{one.value})
		}
	}
	if err := s.Modify(request); err != nil {
		return answered("slapd refused the change of cn=config", err)
	}
	return nil
}

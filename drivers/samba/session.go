// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	patience  = 30 * time.Second // for one answer
	byteLimit = 256 << 20        // of all answers of one session
	pageSize  = 500              // entries; Active Directory gives 1000 at most
)

// A session is a connection to the directory, signed in.
type session struct {
	*ldap.Conn
	base string // DN of the domain
}

// dial signs in. The session ends with ctx.
func (d *door) dial(ctx context.Context, h driver.Host, now settings) (*session, error) {
	conn, err := d.connect(ctx, h, now)
	if err != nil {
		return nil, err
	}
	s := &session{Conn: ldap.NewConn(network.Ending(ctx, network.Limited(conn, byteLimit)), d.Bind != "")}
	s.Start()
	s.SetTimeout(patience)
	if err := d.signIn(ctx, h, s); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connect reaches the socket on which Samba takes everybody for itself, in a directory that
// only root may enter, or LDAPS.
func (d *door) connect(ctx context.Context, h driver.Host, now settings) (net.Conn, error) {
	if d.Bind == "" {
		socket := path.Join(now.private, "ldap_priv", "ldapi")
		conn, err := h.Dial(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("%w: couldn't reach Samba at %s: %w", tallystick.ErrUnavailable, socket, err)
		}
		return conn, nil
	}
	shown, err := h.ReadFile(ctx, now.cert, blocking.MaxFile)
	if err != nil {
		return nil, err
	}
	m, err := installing.ReadPEM(shown)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", now.cert, err)
	}
	l, _ := d.overTLS()
	conn, err := h.Dial(ctx, "tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't reach Samba at %s: %w", tallystick.ErrUnavailable, l.Address, err)
	}
	// The file says which certificate is Samba's: nobody else is told the password.
	secured := tls.Client(conn, &tls.Config{ServerName: l.ServerName, InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) == 0 || !bytes.Equal(raw[0], m.Chain[0]) {
			return errors.New("it does not show the certificate of " + now.cert)
		}
		return nil
	}})
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := secured.HandshakeContext(limit); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: couldn't speak TLS with Samba at %s: %s", tallystick.ErrUnavailable, l.Address, network.Clean(err.Error()))
	}
	return secured, nil
}

// signIn binds where that is wanted, and asks which domain it is.
func (d *door) signIn(ctx context.Context, h driver.Host, s *session) error {
	if d.Bind != "" {
		info, err := h.Stat(ctx, d.PasswordFile)
		if err != nil {
			return err
		}
		if info.Mode&0o007 != 0 {
			return invalid("everybody can read the password in %s: take that away (chmod 600)", d.PasswordFile)
		}
		password, err := h.ReadFile(ctx, d.PasswordFile, 4096)
		if err != nil {
			return err
		}
		if err := s.Bind(d.Bind, strings.TrimRight(string(password), "\r\n")); err != nil {
			return ldapdir.Answered("couldn't sign in to Samba as "+d.Bind, err)
		}
	}
	found, err := s.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"defaultNamingContext"}, nil))
	if err != nil {
		return ldapdir.Answered("couldn't ask Samba for its domain", err)
	}
	if len(found.Entries) != 1 || found.Entries[0].GetAttributeValue("defaultNamingContext") == "" {
		return invalid("what answers is no domain controller")
	}
	s.base = found.Entries[0].GetAttributeValue("defaultNamingContext")
	return nil
}

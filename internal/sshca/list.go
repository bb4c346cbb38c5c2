// SPDX-License-Identifier: Apache-2.0

package sshca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// fresh is how long a list is relied on: it is given to anybody who asks.
	fresh = time.Second
	// keepEnded is how long a certificate stays on the list after it has ended, for
	// servers whose clocks are slow.
	keepEnded = 24 * time.Hour
	// allAuthorities is the number under which the list is stored: it is one for all.
	allAuthorities = 0
)

// maxTries bounds how often another process may be faster at numbering the list.
const maxTries = 3

// A List is a KRL as it is served.
type List struct {
	Number  int64
	At      time.Time
	Entries int64
	SHA256  string // of Bytes
	Bytes   []byte
}

// List returns what is not to be accepted, of all SSH CAs here: a server reads one file
// of this sort (RevokedKeys). On it are the certificates that were revoked and have not
// ended, the keys that are blocked and were certified here once, and the keys of CAs
// that are compromised or distrusted. Its number grows with every change, and with nothing
// else; it is stored before it is shown.
func (s *SSH) List(ctx context.Context) (List, error) {
	s.mu.Lock() // one reads, the others wait for what it finds
	defer s.mu.Unlock()
	now := s.now()
	if age := now.Sub(s.read); s.list.Bytes != nil && age >= 0 && age < fresh {
		return s.list, nil
	}
	for range maxTries {
		list, err := s.renew(ctx, now)
		if errors.Is(err, tallystick.ErrConflict) {
			continue // somebody else did; look at what they stored
		}
		if err == nil {
			s.list, s.read = list, now
		}
		return list, err
	}
	return List{}, fmt.Errorf("couldn't number the key revocation list: %w", tallystick.ErrConflict)
}

// renew makes the list, and stores it where it says something new.
func (s *SSH) renew(ctx context.Context, now time.Time) (List, error) {
	b, err := s.gather(ctx, now)
	if err != nil {
		return List{}, err
	}
	last, err := s.db.CRL(ctx, allAuthorities, store.CompleteList)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return List{}, err
	}
	if last.Number > 0 && bytes.Equal(last.List, b.encode(uint64(last.Number), last.ThisUpdate)) {
		return List{last.Number, last.ThisUpdate, last.Entries, last.SHA256, last.List}, nil
	}
	next := List{Number: last.Number + 1, At: now.UTC().Truncate(time.Second), Entries: b.entries()}
	next.Bytes = b.encode(uint64(next.Number), next.At)
	sum := sha256.Sum256(next.Bytes)
	next.SHA256 = hex.EncodeToString(sum[:])
	return next, s.db.PutCRL(ctx, store.CRL{Authority: allAuthorities, Shard: store.CompleteList, Number: next.Number, ThisUpdate: next.At, NextUpdate: next.At,
		Entries: next.Entries, SHA256: next.SHA256, List: next.Bytes}, last.Number)
}

func (b body) entries() int64 {
	n := len(b.keys)
	for _, r := range b.certificates {
		n += len(r.serials)
	}
	return int64(n)
}

// gather reads what is to be on the list.
func (s *SSH) gather(ctx context.Context, now time.Time) (body, error) {
	authorities, err := s.ca.Authorities(ctx)
	if err != nil {
		return body{}, err
	}
	var b body
	kinds := map[int64]string{}
	for _, a := range authorities {
		kinds[a.ID] = a.Kind
		if a.Kind != ca.KindSSH {
			continue
		}
		if a.State == ca.Compromised || a.State == ca.Distrusted {
			b.keys = append(b.keys, sha256.Sum256(a.Certificate))
		}
		r := revoked{authority: a.Certificate}
		err := s.db.EachRevocation(ctx, a.ID, func(one store.Revocation) error {
			if len(one.Serial) == 8 && one.NotAfter.After(now.Add(-keepEnded)) {
				r.serials = append(r.serials, binary.BigEndian.Uint64(one.Serial))
			}
			return nil
		})
		if err != nil {
			return body{}, err
		}
		b.certificates = append(b.certificates, r)
	}
	err = s.db.EachBlockedCertificate(ctx, func(authority int64, certificate []byte) error {
		key, err := keyIn(kinds[authority], certificate)
		if err == nil {
			b.keys = append(b.keys, hashOf(key))
		}
		return nil // a key that SSH has no form of cannot sign in by it
	})
	return b, err
}

// keyIn returns the key that a certificate of a CA of some kind is for.
func keyIn(kind string, certificate []byte) (ssh.PublicKey, error) {
	if kind == ca.KindSSH {
		key, err := ssh.ParsePublicKey(certificate)
		if err != nil {
			return nil, err
		}
		if c, ok := key.(*ssh.Certificate); ok {
			return c.Key, nil
		}
		return key, nil
	}
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(c.PublicKey)
}

// ServeList answers with the list. It is public, as what it says is.
func (s *SSH) ServeList(w http.ResponseWriter, r *http.Request) error {
	list, err := s.List(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+list.SHA256[:32]+`"`)
	w.Header().Set("Cache-Control", "max-age=60")
	http.ServeContent(w, r, "", list.At, bytes.NewReader(list.Bytes))
	return nil
}

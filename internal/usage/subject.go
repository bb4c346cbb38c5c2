// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"crypto/sha1" // RFC 7515 section 4.1.7: the name is that of the certificate, and secures nothing
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A subject is one credential as uses name it.
type subject struct {
	credential Credential
	used       []int64  // never nil: nothing is kept under no id
	names      []string // as the ledger knows it
}

// subject asks the gate for the credential that people mean by a name: its
// fingerprint or the beginning of it, or a name under which it is used. Nil is all
// of them.
func (u *Usage) subject(ctx context.Context, actor gate.Actor, name string) (*subject, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, name); err != nil || name == "" {
		return nil, err
	}
	list, fingerprint, err := u.usedBy(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &subject{used: []int64{}, credential: Credential{Fingerprint: fingerprint, Names: []string{}}}
	for _, one := range list {
		if len(s.used) == 0 {
			s.credential = credentialOf(one)
		}
		s.used, s.names = append(s.used, one.ID), append(s.names, one.Names...)
	}
	if len(list) == 0 {
		if err := u.nameByItself(ctx, s); err != nil {
			return nil, err
		}
	}
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	s.credential.Names = s.names
	object := string(s.credential.Fingerprint)
	if object == "" {
		object = name
	}
	return s, u.Gate.Check(ctx, actor, gate.ReadCredential, object)
}

// nameByItself gives a credential the names that uses can have for it. What was
// first used a moment ago is in the ledger before it is in the store.
func (u *Usage) nameByItself(ctx context.Context, s *subject) error {
	c, row, err := u.DB.Credential(ctx, s.credential.Fingerprint)
	if err != nil {
		return err
	}
	s.credential.Kind, s.credential.Subject = row.Kind, row.Subject
	switch c.Kind {
	case tallystick.KindCertificate:
		thumbprint := sha1.Sum(c.Raw)
		s.names = []string{"cert-sha256:" + string(c.ID), "x5t:" + hex.EncodeToString(thumbprint[:])}
	case tallystick.KindNamed:
		s.names = []string{string(c.Raw)}
	case tallystick.KindKey:
		s.names = []string{"spki-sha256:" + string(c.Key.ID)}
	}
	return nil
}

// usedBy looks a name up.
func (u *Usage) usedBy(ctx context.Context, name string) ([]store.UsedRow, tallystick.Fingerprint, error) {
	if isNameOfUse(name) {
		list, err := u.DB.UsedUnder(ctx, name)
		if err == nil && len(list) == 0 {
			err = problem.With(fmt.Errorf("no use of %.100q is known: %w", name, tallystick.ErrNotFound), "give the fingerprint of the credential, or a name as logs have it")
		}
		return list, "", err
	}
	fingerprint, err := u.DB.Resolve(ctx, name)
	if err != nil {
		return nil, "", err
	}
	list, err := u.DB.UsedOf(ctx, fingerprint)
	return list, fingerprint, err
}

// isNameOfUse tells "x5t:9A0C..." from a fingerprint with colons between its digits.
func isNameOfUse(name string) bool {
	return strings.Contains(name, ":") && strings.Trim(strings.ToLower(name), "0123456789abcdef: ") != ""
}

func credentialOf(row store.UsedRow) Credential {
	return Credential{Fingerprint: row.Fingerprint, Kind: row.Kind, Subject: row.Subject, Names: row.Names}
}

// first is an id of table used, 0 when there is none yet.
func (s *subject) first() int64 {
	if len(s.used) == 0 {
		return 0
	}
	return s.used[0]
}

// ids is what the store is asked for; nil is of every credential.
func (s *subject) ids() []int64 {
	if s == nil {
		return nil
	}
	return s.used
}

// withCredentials makes what people see of rows that name credentials by their id
// of table used, in the same order.
func withCredentials[Row, Shown any](ctx context.Context, u *Usage, rows []Row, used func(*Row) int64, show func(*Row, Credential) Shown) ([]Shown, error) {
	ids := make([]int64, 0, len(rows))
	for i := range rows {
		ids = append(ids, used(&rows[i]))
	}
	credentials, err := u.credentials(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]Shown, 0, len(rows))
	for i := range rows {
		list = append(list, show(&rows[i], credentials[ids[i]]))
	}
	return list, nil
}

// credentials returns what is known of credentials, by their id of table used.
func (u *Usage) credentials(ctx context.Context, ids []int64) (map[int64]Credential, error) {
	rows, err := u.DB.Used(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := make(map[int64]Credential, len(rows))
	for id, row := range rows {
		found[id] = credentialOf(row)
	}
	return found, nil
}

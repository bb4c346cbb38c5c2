// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
)

// pageSize is how many entries a page has; Active Directory gives 1000 at most.
const pageSize = 500

// A Query is a search.
type Query struct {
	Base       string
	Scope      int // of package ldap
	Filter     string
	Attributes []string
	Controls   []ldap.Control
}

// Each calls fn with every entry that a query finds, a page in memory at a time. Referrals to
// other servers are left. An error after some entries means that they are not all.
func (s *Session) Each(ctx context.Context, q Query, fn func(*ldap.Entry) error) error {
	paging := ldap.NewControlPaging(pageSize)
	seen := map[string]bool{} // cookies, so that a directory which leads round in a circle is left
	for {
		found, err := s.search(ctx, q, append([]ldap.Control{paging}, q.Controls...))
		if err != nil {
			return err
		}
		for _, entry := range found.Entries {
			if err := fn(entry); err != nil {
				return err
			}
		}
		next, ok := ldap.FindControl(found.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok || len(next.Cookie) == 0 {
			return nil
		}
		if len(found.Entries) == 0 {
			if seen[string(next.Cookie)] {
				return fmt.Errorf("%w: a page of %s leads to itself", tallystick.ErrUnavailable, s.Host)
			}
			seen[string(next.Cookie)] = true
		}
		paging.SetCookie(next.Cookie)
	}
}

// One reads one entry; where there is none the error is ErrNotFound.
func (s *Session) One(ctx context.Context, q Query) (*ldap.Entry, error) {
	q.Scope = ldap.ScopeBaseObject
	if q.Filter == "" {
		q.Filter = "(objectClass=*)"
	}
	found, err := s.search(ctx, q, q.Controls)
	if err != nil {
		return nil, err
	}
	if len(found.Entries) != 1 {
		return nil, fmt.Errorf("%w: %s has no entry %q that this account may read", tallystick.ErrNotFound, s.Host, q.Base)
	}
	return found.Entries[0], nil
}

// Root reads the entry of the server itself (RFC 4512 section 5.1).
func (s *Session) Root(ctx context.Context, attributes ...string) (*ldap.Entry, error) {
	return s.One(ctx, Query{Attributes: attributes})
}

func (s *Session) search(ctx context.Context, q Query, controls []ldap.Control) (*ldap.SearchResult, error) {
	return s.bounded(ctx, q, controls, maxPage)
}

// bounded searches, and ends the session where the entries take more than some bytes.
func (s *Session) bounded(ctx context.Context, q Query, controls []ldap.Control, most int) (*ldap.SearchResult, error) {
	stop := context.AfterFunc(ctx, func() { s.Conn.Close() })
	defer stop()
	left, end := context.WithCancel(ctx)
	defer end()
	answer := s.Conn.SearchAsync(left, ldap.NewSearchRequest(q.Base, q.Scope, ldap.NeverDerefAliases, 0, 0, false, q.Filter, q.Attributes, controls), 1)
	found := &ldap.SearchResult{}
	for size := 0; answer.Next(); {
		e := answer.Entry()
		if e == nil { // the end, or a referral
			found.Controls = append(found.Controls, answer.Controls()...)
			continue
		}
		// A directory that heeds no size of pages would fill the memory.
		if size += sizeOf(e); size > most {
			end() // else closing waits for somebody who waits for this loop
			s.Conn.Close()
			return nil, fmt.Errorf("%w: couldn't search %s: its answer takes more than %d bytes", tallystick.ErrUnavailable, s.Host, most)
		}
		found.Entries = append(found.Entries, e)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := answer.Err(); err != nil {
		return nil, Answered("couldn't search "+s.Host, err)
	}
	if s.Conn.IsClosing() { // the library tells it as an answer without entries
		return nil, fmt.Errorf("%w: couldn't search %s: the connection has ended", tallystick.ErrUnavailable, s.Host)
	}
	return found, nil
}

// maxPage bounds the entries of one answer, in bytes.
const maxPage = 256 << 20

// sizeOf is about how much memory an entry takes.
func sizeOf(e *ldap.Entry) int {
	const each = 64 // what the library keeps beside the bytes
	size := each + len(e.DN)
	for _, a := range e.Attributes {
		size += each + len(a.Name)
		for _, value := range a.ByteValues {
			size += each + 2*len(value) // it keeps a text of each as well
		}
	}
	return size
}

// Raw returns the values of an attribute, whatever options its name has in the answer.
func Raw(entry *ldap.Entry, attribute string) [][]byte {
	for _, a := range entry.Attributes {
		name, _, _ := strings.Cut(a.Name, ";")
		if strings.EqualFold(name, attribute) {
			return a.ByteValues
		}
	}
	return nil
}

// Texts returns the values of an attribute as text.
func Texts(entry *ldap.Entry, attribute string) []string {
	var texts []string
	for _, value := range Raw(entry, attribute) {
		texts = append(texts, strings.ToValidUTF8(string(value), "\uFFFD"))
	}
	return texts
}

// Text returns the first of them, or "".
func Text(entry *ldap.Entry, attribute string) string {
	if texts := Texts(entry, attribute); len(texts) > 0 {
		return texts[0]
	}
	return ""
}

// Named is a credential that is known by a name alone.
func Named(name, subject string) tallystick.Credential {
	name = tallystick.NormalName(name)
	return tallystick.Credential{ID: tallystick.FingerprintOf([]byte(name)), Kind: tallystick.KindNamed, Subject: subject, Raw: []byte(name)}
}

// Time reads a GeneralizedTime in UTC (RFC 4517 section 3.3.13), with or without a fraction of a
// second; what is none is zero.
func Time(text string) time.Time {
	for _, layout := range []string{"20060102150405Z", "20060102150405.999999Z"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

// SinkFailed marks an error as one of whoever takes what is read; of none it is nil.
func SinkFailed(err error) error {
	if err == nil {
		return nil
	}
	return &SinkError{err}
}

// IsFilter says whether text is a filter (RFC 4515).
func IsFilter(text string) bool {
	_, err := ldap.CompileFilter(text)
	return err == nil
}

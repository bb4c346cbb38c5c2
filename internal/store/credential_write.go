// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

var (
	insertCredentials = bulk{
		head: `INSERT INTO credentials (id, fingerprint, kind, key_id, algorithm, bits, subject, issuer, serial, names,
			not_before, not_after, signature, is_ca, self_issued, logged, usages, subject_key_id, authority_key_id,
			read_error, first_seen, search, present) VALUES `,
		width: 23,
	}
	insertBodies = bulk{head: `INSERT INTO bodies (credential_id, raw, spki) VALUES `, width: 3}
	insertTerms  = bulk{head: `INSERT INTO terms (term, credential_id) VALUES `, width: 2}
)

// writeCredentials adds the credentials that are new. Those that are known
// stay as they are: the same bytes mean the same.
func (r *recording) writeCredentials(ctx context.Context, tx *writing) error {
	var rows, bodies, standing [][]any
	r.terms = nil
	for _, n := range r.credentials {
		if !n.isNew {
			continue
		}
		id, c := n.id, &n.last.Credential
		words := termsOf(c)
		rows = append(rows, []any{
			id, string(c.ID), string(c.Kind), string(c.Key.ID), c.Key.Algorithm, c.Key.Bits,
			cleanText(c.Subject), cleanText(c.Issuer), c.Serial, stringsText(c.Names), micros(c.NotBefore), endMicros(c.NotAfter),
			c.Signature, c.IsCA, c.SelfIssued, c.Logged, stringsText(c.Usages), c.SubjectKeyID, c.AuthorityKeyID,
			cleanText(c.ReadError), micros(n.last.Seen), searchText(words), true,
		})
		bodies = append(bodies, []any{id, notNil(c.Raw), notNil(c.Key.SPKI)})
		for _, word := range words {
			if !r.broad[word] {
				r.terms = append(r.terms, []any{word, id})
			}
		}
		standing = append(standing, []any{id, r.added[id]})
		delete(r.added, id)
	}
	slices.SortStableFunc(r.terms, func(a, b []any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
	for _, write := range []struct {
		bulk
		rows [][]any
	}{{insertCredentials, rows}, {insertBodies, bodies}, {upsertStanding, standing}, {insertTerms, r.terms}} {
		if _, err := write.exec(ctx, tx, write.rows); err != nil {
			return err
		}
	}
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// searchText is what a search for a common word goes through; see broadTerm.
func searchText(terms []string) string { return "\n" + strings.Join(terms, "\n") }

// maxTerms and maxTermLen bound what one hostile certificate can add.
const (
	maxTerms   = 32
	maxTermLen = 200
)

// termsOf returns the words that a person would search a credential by: each
// name and, for names with dots, what follows each dot (so that "example.org"
// finds "www.example.org"), the words of the subject, the serial, and the SHA-1
// thumbprint that directories and proxies name a certificate by. The fingerprint
// and the key id have columns of their own.
func termsOf(c *tallystick.Credential) []string {
	seen := map[string]bool{}
	var terms []string
	add := func(term string) {
		term = cutUTF8(strings.ToLower(strings.TrimSpace(term)), maxTermLen)
		if term != "" && !seen[term] && len(terms) < maxTerms {
			seen[term] = true
			terms = append(terms, term)
		}
	}
	if c.Kind == tallystick.KindCertificate && len(c.Raw) > 0 {
		add(thumbprint(c.Raw))
	}
	for _, word := range strings.FieldsFunc(c.Subject, func(r rune) bool { return strings.ContainsRune(` ,+="\;<>`, r) }) {
		if len(word) > 2 {
			add(word)
		}
	}
	for _, name := range c.Names {
		add(name)
		for rest := name; strings.Count(rest, ".") > 1; {
			_, rest, _ = strings.Cut(rest, ".")
			add(rest)
		}
	}
	if c.Serial != "" {
		add(c.Serial)
	}
	return terms
}

// thumbprint returns the SHA-1 of a certificate in hexadecimal: a name of it, that
// proves nothing.
func thumbprint(raw []byte) string {
	sum := sha1.Sum(raw)
	return hex.EncodeToString(sum[:])
}

// cutUTF8 shortens s to at most n bytes at a rune's edge. PostgreSQL refuses
// text that is not UTF-8 or holds a zero byte, which certificates may well do.
func cutUTF8(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return cleanText(s)
}

// maxIndexed bounds text that an index has, in bytes: a row of one must fit into
// a third of a page of PostgreSQL.
const maxIndexed = 512

// IndexText makes text of strangers into text that an index takes: what is longer
// than that is cut, and ends in a digest of all of it.
func IndexText(s string) string {
	if s = cleanText(s); len(s) <= maxIndexed {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return cutUTF8(s, maxIndexed/2) + "..." + hex.EncodeToString(sum[:])
}

// cleanText makes any bytes into text that both engines take.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

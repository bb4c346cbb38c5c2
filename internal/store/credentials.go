// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A CredentialRow is a credential as a list shows it.
type CredentialRow struct {
	RowID      int64                  `json:"-"`
	ID         tallystick.Fingerprint `json:"id"`
	Kind       tallystick.Kind        `json:"kind"`
	KeyID      tallystick.KeyID       `json:"key_id,omitempty"`
	Algorithm  string                 `json:"algorithm"`
	Subject    string                 `json:"subject,omitempty"`
	Issuer     string                 `json:"issuer,omitempty"`
	Serial     string                 `json:"serial,omitempty"`
	Names      []string               `json:"names,omitempty"`
	Signature  string                 `json:"signature,omitempty"`
	IsCA       bool                   `json:"is_ca,omitempty"`
	NotBefore  time.Time              `json:"not_before,omitzero"`
	NotAfter   time.Time              `json:"not_after,omitzero"`
	FirstSeen  time.Time              `json:"first_seen"`
	Places     int64                  `json:"places"`
	Findings   int64                  `json:"findings"`
	Severity   tallystick.Severity    `json:"severity"`
	Annotation tallystick.Annotation  `json:"annotation"`
}

const rowColumns = `c.id, c.fingerprint, c.kind, c.key_id, c.algorithm, c.subject, c.issuer, c.serial, c.names, c.signature,
	c.is_ca, c.not_before, c.not_after, c.first_seen, c.places, c.findings, c.severity, c.owner, c.environment, c.tags, c.notes`

// scanCredentialRow reads rowColumns and then into more.
func scanCredentialRow(row scanner, more ...any) (CredentialRow, error) {
	var r CredentialRow
	var names, tags string
	var notBefore, notAfter, firstSeen int64
	err := row.Scan(append([]any{&r.RowID, &r.ID, &r.Kind, &r.KeyID, &r.Algorithm, &r.Subject, &r.Issuer, &r.Serial, &names, &r.Signature,
		&r.IsCA, &notBefore, &notAfter, &firstSeen, &r.Places, &r.Findings, &r.Severity,
		&r.Annotation.Owner, &r.Annotation.Environment, &tags, &r.Annotation.Notes}, more...)...)
	if err != nil {
		return r, err
	}
	r.NotBefore, r.NotAfter, r.FirstSeen = timeOf(notBefore), timeOf(notAfter), timeOf(firstSeen)
	if r.Names, err = stringsOf(names); err != nil {
		return r, err
	}
	r.Annotation.Tags, err = stringsOf(tags)
	return r, err
}

// A CredentialFilter narrows a list of credentials; the zero value is all that
// are somewhere now. Text is matched by its words: each must begin a name, a
// word of the subject, the serial, the fingerprint or the key id.
type CredentialFilter struct {
	Text        string
	Kind        string
	Algorithm   string // whole, or a family that ends in "-": "rsa-"
	Issuer      string
	KeyID       string
	Owner       string // "-" is nobody
	Environment string
	Tag         string
	Rule        string // with an open finding of this rule
	Severity    tallystick.Severity
	Place       tallystick.Place
	Scheme      string // at a place of this scheme
	Role        string // in this role somewhere
	EndsAfter   time.Time
	EndsBefore  time.Time
	Leaf        bool // neither a CA certificate nor a bare key: what Summary.Ending counts
	Gone        bool // those that are nowhere now, instead
}

// where writes the filter as conditions on credentials c.
func (f CredentialFilter) where(ctx context.Context, db *DB) (*conditions, error) {
	w := &conditions{}
	if f.Gone {
		w.add(`NOT c.present`)
	} else {
		w.add(`c.present`)
	}
	for _, equal := range []struct{ column, value string }{
		{`c.kind = `, f.Kind}, {`c.issuer = `, f.Issuer}, {`c.key_id = `, f.KeyID}, {`c.environment = `, f.Environment},
	} {
		if equal.value != "" {
			w.add(equal.column+`?`, equal.value)
		}
	}
	if f.Owner == "-" {
		w.add(`c.owner = ''`)
	} else if f.Owner != "" {
		w.add(`c.owner = ?`, f.Owner)
	}
	if strings.HasSuffix(f.Algorithm, "-") {
		w.add(`c.algorithm >= ? AND c.algorithm < ?`, f.Algorithm, prefixEnd(f.Algorithm))
	} else if f.Algorithm != "" {
		w.add(`c.algorithm = ?`, f.Algorithm)
	}
	if !f.EndsAfter.IsZero() {
		w.add(`c.not_after >= ?`, micros(f.EndsAfter))
	}
	if !f.EndsBefore.IsZero() {
		w.add(`c.not_after < ?`, micros(f.EndsBefore))
	}
	if f.Severity > 0 {
		w.add(`c.severity >= ?`, int64(f.Severity))
	}
	if f.Leaf {
		w.add(`c.kind <> 'key' AND NOT c.is_ca`)
	}
	f.whereElsewhere(w)
	return w, f.whereText(ctx, db, w)
}

// whereElsewhere adds the conditions that other tables answer.
func (f CredentialFilter) whereElsewhere(w *conditions) {
	if f.Tag != "" {
		w.add(`c.id IN (SELECT credential_id FROM tags WHERE tag = ?)`, f.Tag)
	}
	if f.Rule != "" {
		w.add(`c.id IN (SELECT credential_id FROM findings WHERE rule = ? AND closed = 0)`, f.Rule)
	}
	if f.Place != "" {
		w.add(`c.id IN (SELECT s.credential_id FROM sightings s JOIN places p ON p.id = s.place_id WHERE p.uri = ? AND s.gone_since = 0)`, string(f.Place))
	}
	if f.Scheme != "" {
		w.add(`EXISTS (SELECT 1 FROM sightings s WHERE s.credential_id = c.id AND s.gone_since = 0 AND s.scheme = ?)`, f.Scheme)
	}
	if f.Role != "" {
		w.add(`EXISTS (SELECT 1 FROM sightings s WHERE s.credential_id = c.id AND s.gone_since = 0 AND s.role = ?)`, f.Role)
	}
}

// broadTerm is how many credentials a word may find for them to be looked up
// first. Of a word that finds more, the list is walked in its own order and each
// row is held against the word, because a page is full long before a hundred
// thousand ids are gathered and sorted.
const broadTerm = 2000

// whereText adds the condition of each word that is searched for.
func (f CredentialFilter) whereText(ctx context.Context, db *DB, w *conditions) error {
	for _, word := range strings.Fields(strings.ToLower(f.Text)) {
		word = cutUTF8(word, maxTermLen)
		end := prefixEnd(word)
		terms := &conditions{}
		terms.add(`term >= ? AND term < ?`, word, end)
		n, err := db.countTo(ctx, `terms`, terms, broadTerm)
		if err != nil {
			return err
		}
		if n == broadTerm {
			w.add(`c.search LIKE ? ESCAPE '\'`, "%\n"+escapeLike.Replace(word)+"%")
			continue
		}
		w.add(`(c.id IN (SELECT credential_id FROM terms WHERE term >= ? AND term < ?)
			OR (c.fingerprint >= ? AND c.fingerprint < ?) OR (c.key_id >= ? AND c.key_id < ?))`, word, end, word, end, word, end)
	}
	return nil
}

// escapeLike makes the characters that LIKE gives a meaning into letters.
var escapeLike = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

// prefixEnd returns the first string after all that begin with prefix: it
// relies on text being in the order of its bytes, which engine.schema sees to.
func prefixEnd(prefix string) string { return prefix + "\U0010FFFF" }

// The sort orders of a list of credentials, each with its index. Ids are given
// in the order of first sight, but for what several nodes see at once.
var credentialSorts = map[string]string{
	"expires": "c.not_after", "subject": "c.subject", "seen": "c.id", "places": "c.places", "severity": "c.severity",
}

// Credentials returns a page of the credentials that a filter lets through.
// Sort is "expires" (the default), "subject", "seen", "places" or "severity".
func (db *DB) Credentials(ctx context.Context, f CredentialFilter, page PageRequest) (Page[CredentialRow], error) {
	column, err := page.column(credentialSorts, "expires")
	if err != nil {
		return Page[CredentialRow]{}, err
	}
	where, err := f.where(ctx, db)
	if err != nil {
		return Page[CredentialRow]{}, err
	}
	list := listing[CredentialRow]{
		columns: rowColumns, from: `credentials c`, where: where, sort: column, text: column == `c.subject`, id: `c.id`, scan: scanCredentialRow,
	}
	return list.page(ctx, db, page)
}

// CountCredentials counts what a filter lets through, up to CountCap.
func (db *DB) CountCredentials(ctx context.Context, f CredentialFilter) (int64, error) {
	where, err := f.where(ctx, db)
	if err != nil {
		return 0, err
	}
	return db.count(ctx, `credentials c`, where)
}

// fullColumns are those of a whole credential.
const fullColumns = `c.id, c.fingerprint, c.kind, c.key_id, c.algorithm, c.bits, c.subject, c.issuer, c.serial, c.names, c.not_before, c.not_after,
	c.signature, c.is_ca, c.self_issued, c.logged, c.usages, c.subject_key_id, c.authority_key_id, c.read_error, b.raw, b.spki`

// scanCredential reads fullColumns and then into more.
func scanCredential(row scanner, more ...any) (int64, *tallystick.Credential, error) {
	var c tallystick.Credential
	var id, notBefore, notAfter int64
	var names, usages string
	err := row.Scan(append([]any{&id, &c.ID, &c.Kind, &c.Key.ID, &c.Key.Algorithm, &c.Key.Bits, &c.Subject, &c.Issuer, &c.Serial, &names,
		&notBefore, &notAfter, &c.Signature, &c.IsCA, &c.SelfIssued, &c.Logged, &usages, &c.SubjectKeyID, &c.AuthorityKeyID,
		&c.ReadError, &c.Raw, &c.Key.SPKI}, more...)...)
	if err != nil {
		return 0, nil, err
	}
	c.NotBefore, c.NotAfter = timeOf(notBefore), timeOf(notAfter)
	if c.Names, err = stringsOf(names); err != nil {
		return 0, nil, err
	}
	c.Usages, err = stringsOf(usages)
	return id, &c, err
}

// Credential returns one credential whole, with its row.
func (db *DB) Credential(ctx context.Context, fingerprint tallystick.Fingerprint) (*tallystick.Credential, CredentialRow, error) {
	const full = `SELECT ` + fullColumns + ` FROM credentials c JOIN bodies b ON b.credential_id = c.id WHERE c.fingerprint = $1`
	_, c, err := scanCredential(db.read.QueryRowContext(ctx, full, cleanText(string(fingerprint))))
	if err != nil {
		return nil, CredentialRow{}, db.wrap("couldn't read credential "+fingerprint.Short(), err)
	}
	const row = `SELECT ` + rowColumns + ` FROM credentials c WHERE c.fingerprint = $1`
	rows, err := db.read.QueryContext(ctx, row, string(fingerprint))
	list, err := collect(db, "couldn't read credential "+fingerprint.Short(), rows, err, func(rows *sql.Rows) (CredentialRow, error) { return scanCredentialRow(rows) })
	if err != nil || len(list) == 0 {
		return nil, CredentialRow{}, db.wrap("couldn't read credential "+fingerprint.Short(), orNoRows(err))
	}
	return c, list[0], nil
}

func orNoRows(err error) error {
	if err != nil {
		return err
	}
	return sql.ErrNoRows
}

// FindFingerprints returns the credentials whose fingerprint or key id begins
// with a prefix, at most limit of them.
func (db *DB) FindFingerprints(ctx context.Context, prefix string, limit int) ([]tallystick.Fingerprint, error) {
	const query = `SELECT fingerprint FROM credentials WHERE fingerprint >= $1 AND fingerprint < $2
		UNION SELECT fingerprint FROM credentials WHERE key_id >= $1 AND key_id < $2 LIMIT $3`
	rows, err := db.read.QueryContext(ctx, query, cleanText(prefix), prefixEnd(cleanText(prefix)), limit)
	return collect(db, "couldn't look for "+prefix, rows, err, func(rows *sql.Rows) (tallystick.Fingerprint, error) {
		var f tallystick.Fingerprint
		return f, rows.Scan(&f)
	})
}

// Issuers returns the CA certificates that may have issued a certificate: by
// key identifier where it names one, and by name.
func (db *DB) Issuers(ctx context.Context, c *tallystick.Credential) ([]*tallystick.Credential, error) {
	query := `SELECT ` + fullColumns + ` FROM credentials c JOIN bodies b ON b.credential_id = c.id
		WHERE c.is_ca AND c.subject_key_id = $1 AND c.subject = $2 ORDER BY c.id LIMIT 8`
	args := []any{c.AuthorityKeyID, c.Issuer}
	if c.AuthorityKeyID == "" {
		query = `SELECT ` + fullColumns + ` FROM credentials c JOIN bodies b ON b.credential_id = c.id
			WHERE c.is_ca AND c.subject = $1 ORDER BY c.id LIMIT 8`
		args = args[1:]
	}
	rows, err := db.read.QueryContext(ctx, query, args...)
	return collect(db, "couldn't look for the issuer", rows, err, func(rows *sql.Rows) (*tallystick.Credential, error) {
		_, c, err := scanCredential(rows)
		return c, err
	})
}

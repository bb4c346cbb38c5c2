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
	c.is_ca, c.not_before, c.not_after, c.first_seen, st.places, c.findings, c.severity, c.owner, c.environment, c.tags, c.notes`

// rowFrom are the tables of rowColumns, in the order in which an index of the
// first serves the list; SQLite keeps to that of a cross join.
const (
	rowFrom         = `credentials c CROSS JOIN standing st`
	rowFromStanding = `standing st CROSS JOIN credentials c`
	rowJoin         = `st.credential_id = c.id`
)

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
	Place       tallystick.Place // a path without a scheme is a file's or a trust store's
	Scheme      string           // at a place of this scheme
	Network     string           // at a place in this network, as Network.Name has it
	Role        string           // in this role somewhere
	EndsAfter   time.Time
	EndsBefore  time.Time
	Leaf        bool // neither a CA certificate nor a bare key: what Summary.Ending counts, but for samples
	Gone        bool // those that are nowhere now, instead
	// Sample is "true" for those alone that packages bring along and nothing
	// uses, and "false" for all others alone.
	Sample string
}

// A wordFilter asks for one word in a column.
type wordFilter struct {
	column, word string
	family       bool // those that begin with it
	nobody       bool // the empty word
}

// words returns those parts of the filter that indexes serve.
func (f CredentialFilter) words() []wordFilter {
	var parts []wordFilter
	for _, part := range []wordFilter{
		{column: `c.kind`, word: f.Kind}, {column: `c.issuer`, word: f.Issuer}, {column: `c.key_id`, word: f.KeyID}, {column: `c.owner`, word: f.Owner, nobody: f.Owner == "-"},
		{column: `c.algorithm`, word: f.Algorithm, family: strings.HasSuffix(f.Algorithm, "-")},
	} {
		if part.word != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

func (part wordFilter) addTo(w *conditions) {
	switch {
	case part.family:
		w.add(part.column+` >= ? AND `+part.column+` < ?`, part.word, prefixEnd(part.word))
	case part.nobody:
		w.add(part.column + ` = ''`)
	default:
		w.add(part.column+` = ?`, part.word)
	}
}

// broadFilter is how many credentials a word of a column may have for them to be
// sorted; of one that has more, the list is walked in its order.
const broadFilter = 5000

// walks says whether a part of the filter should not be served by its index,
// which is in the order of expiry. "" is no order.
func (db *DB) walks(ctx context.Context, part wordFilter, sort string) (bool, error) {
	if sort == "" || sort == `c.not_after` {
		return false, nil
	}
	w := &conditions{parts: []string{`c.present`}}
	part.addTo(w)
	n, err := db.countTo(ctx, `credentials c`, w, broadFilter)
	return n == broadFilter, err
}

// where writes the filter as conditions on credentials c, for a list that is
// sorted by a column.
func (f CredentialFilter) where(ctx context.Context, db *DB, sort string) (*conditions, error) {
	w := &conditions{}
	if f.Gone {
		w.add(`NOT c.present`)
	} else {
		w.add(`c.present`)
	}
	for _, part := range f.words() {
		walks, err := db.walks(ctx, part, sort)
		if err != nil {
			return nil, err
		}
		if walks {
			part.column = `(` + part.column + ` || '')` // which no index has
		}
		part.addTo(w)
	}
	if f.Environment != "" {
		w.add(`c.environment <> '' AND c.environment = ?`, f.Environment) // as the index has it
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
	switch f.Sample {
	case "true":
		w.add(`c.sample`)
	case "false":
		w.add(`NOT c.sample`)
	}
	f.whereElsewhere(w)
	if err := f.whereSeen(ctx, db, w); err != nil {
		return nil, err
	}
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
		places := []any{string(f.Place), string(f.Place)}
		if path := string(f.Place); strings.HasPrefix(path, "/") {
			places = []any{string(tallystick.FilePlace(path)), string(tallystick.TrustStorePlace(path))}
		}
		w.add(`c.id IN (SELECT s.credential_id FROM sightings s JOIN places p ON p.id = s.place_id WHERE p.uri IN (?, ?) AND s.gone_since = 0)`, places...)
	}
}

// whereSeen adds the conditions of a scheme, a network and a role. What few have is
// looked up first, and what many have is tried on each row of the list, as with
// broadTerm: a million rows hold nothing that few have for a long time.
func (f CredentialFilter) whereSeen(ctx context.Context, db *DB, w *conditions) error {
	if f.Scheme != "" {
		const within = `uri >= ? AND uri < ?`
		start := cutUTF8(f.Scheme, 64) + "://"
		few, err := db.few(ctx, `places`, within, start, prefixEnd(start))
		switch {
		case err != nil:
			return err
		case few:
			w.add(`c.id IN (SELECT s.credential_id FROM places p JOIN sightings s ON s.place_id = p.id AND s.gone_since = 0 WHERE p.uri >= ? AND p.uri < ?)`, start, prefixEnd(start))
		default:
			w.add(`EXISTS (SELECT 1 FROM sightings s WHERE s.credential_id = c.id AND s.gone_since = 0 AND s.scheme = ?)`, f.Scheme)
		}
	}
	if f.Network != "" {
		const inside = `network > '' AND network = ?` // as the index has it
		key := keyOrNone(f.Network)
		few, err := db.few(ctx, `places`, inside, key)
		switch {
		case err != nil:
			return err
		case few:
			w.add(`c.id IN (SELECT s.credential_id FROM places p JOIN sightings s ON s.place_id = p.id AND s.gone_since = 0 
				WHERE p.network > '' AND p.network = ?)`, key)
		default:
			// The scheme stands in the index of the sightings and spares the places on this machine.
			w.add(`EXISTS (SELECT 1 FROM sightings s JOIN places p ON p.id = s.place_id
				WHERE s.credential_id = c.id AND s.gone_since = 0 AND s.scheme NOT IN ('file', 'truststore') AND p.network = ?)`, key)
		}
	}
	if f.Role != "" {
		const held = `gone_since = 0 AND role <> 'presents' AND role = ?` // as the index has it
		few, err := db.few(ctx, `sightings`, held, f.Role)
		switch {
		case err != nil:
			return err
		case few && f.Role != string(tallystick.RolePresents):
			w.add(`c.id IN (SELECT credential_id FROM sightings WHERE `+held+`)`, f.Role)
		default:
			w.add(`EXISTS (SELECT 1 FROM sightings s WHERE s.credential_id = c.id AND s.gone_since = 0 AND s.role = ?)`, f.Role)
		}
	}
	return nil
}

// few says whether less than CountCap rows meet a condition.
func (db *DB) few(ctx context.Context, from, condition string, args ...any) (bool, error) {
	w := &conditions{}
	w.add(condition, args...)
	n, err := db.count(ctx, from, w)
	return n < CountCap, err
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
	"expires": "c.not_after", "subject": "c.subject", "seen": "c.id", "places": "st.places", "severity": "c.severity",
}

// Credentials returns a page of the credentials that a filter lets through.
// Sort is "expires" (the default), "subject", "seen", "places" or "severity".
func (db *DB) Credentials(ctx context.Context, f CredentialFilter, page PageRequest) (Page[CredentialRow], error) {
	column, err := page.column(credentialSorts, "expires")
	if err != nil {
		return Page[CredentialRow]{}, err
	}
	where, err := f.where(ctx, db, column)
	if err != nil {
		return Page[CredentialRow]{}, err
	}
	where.add(rowJoin)
	list := listing[CredentialRow]{
		columns: rowColumns, from: rowFrom, where: where, sort: column, text: column == `c.subject`, id: `c.id`, scan: scanCredentialRow,
	}
	if column == `st.places` {
		list.from, list.id = rowFromStanding, `st.credential_id`
	}
	return list.page(ctx, db, page)
}

// CountCredentials counts what a filter lets through, up to CountCap.
func (db *DB) CountCredentials(ctx context.Context, f CredentialFilter) (int64, error) {
	if f.Network != "" && f == (CredentialFilter{Network: f.Network}) {
		// Neighbours in a network are neighbours in the tables: the credentials,
		// which lie anywhere, need not be asked one by one.
		w := &conditions{}
		w.add(`p.network > '' AND p.network = ?`, keyOrNone(f.Network))
		return db.count(ctx, `(SELECT DISTINCT s.credential_id FROM places p JOIN sightings s ON s.place_id = p.id AND s.gone_since = 0
			WHERE `+w.String()+` LIMIT `+itoa(CountCap)+`) AS there`, &conditions{parts: []string{`TRUE`}, args: w.args})
	}
	where, err := f.where(ctx, db, "")
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
	const row = `SELECT ` + rowColumns + ` FROM ` + rowFrom + ` WHERE ` + rowJoin + ` AND c.fingerprint = $1`
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

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A DueCredential is one that the rules must look at.
type DueCredential struct {
	RowID      int64
	Version    int64 // for Judgement
	Credential *tallystick.Credential
	Annotation tallystick.Annotation
	// AnnotatedByHand says that a person has spoken, so that rules of the
	// configuration do not.
	AnnotatedByHand bool
	Sightings       []tallystick.Sighting // current ones, at most sightingsPerSubject
}

// sightingsPerSubject bounds what the rules are shown of one credential: what
// is wrong at a thousand places is said well enough by two hundred.
const sightingsPerSubject = 200

// Due returns credentials that the rules must look at by now, at most limit.
func (db *DB) Due(ctx context.Context, now time.Time, limit int) ([]DueCredential, error) {
	const query = `SELECT ` + fullColumns + `, st.version, c.owner, c.environment, c.tags, c.notes,
		EXISTS (SELECT 1 FROM annotations a WHERE a.credential_id = c.id AND a.author <> 'configuration')
		FROM standing st JOIN credentials c ON c.id = st.credential_id JOIN bodies b ON b.credential_id = c.id
		WHERE st.recheck_at <= $1 ORDER BY st.recheck_at, st.credential_id LIMIT $2`
	rows, err := db.read.QueryContext(ctx, query, micros(now), limit)
	due, err := collect(db, "couldn't read what the rules are due to see", rows, err, scanDue)
	if err != nil {
		return nil, err
	}
	for i := range due {
		if err := db.fillSightings(ctx, &due[i]); err != nil {
			return nil, err
		}
	}
	return due, nil
}

func scanDue(rows *sql.Rows) (DueCredential, error) {
	var d DueCredential
	var tags string
	var err error
	d.RowID, d.Credential, err = scanCredential(rows, &d.Version, &d.Annotation.Owner, &d.Annotation.Environment, &tags, &d.Annotation.Notes, &d.AnnotatedByHand)
	if err != nil {
		return d, err
	}
	d.Annotation.Tags, err = stringsOf(tags)
	return d, err
}

func (db *DB) fillSightings(ctx context.Context, d *DueCredential) error {
	const query = `SELECT ` + sightingColumns + sightingFrom + `WHERE s.credential_id = $1 AND s.gone_since = 0 ORDER BY s.id LIMIT $2`
	list, err := db.sightings(ctx, query, d.RowID, sightingsPerSubject)
	for _, s := range list {
		d.Sightings = append(d.Sightings, tallystick.Sighting{Place: s.Place, Role: s.Role, Seen: s.LastSeen, Facts: s.Facts})
	}
	return err
}

// CountDue counts what the rules have still to see, up to CountCap.
func (db *DB) CountDue(ctx context.Context, now time.Time) (int64, error) {
	w := &conditions{}
	w.add(`recheck_at <= ?`, micros(now))
	return db.count(ctx, `standing`, w)
}

// CredentialsByFingerprint returns those of the fingerprints that are known, whole.
func (db *DB) CredentialsByFingerprint(ctx context.Context, list []tallystick.Fingerprint) (map[tallystick.Fingerprint]*tallystick.Credential, error) {
	found := map[tallystick.Fingerprint]*tallystick.Credential{}
	var keys []any
	for _, f := range list {
		keys = append(keys, string(f))
	}
	const query = `SELECT ` + fullColumns + ` FROM credentials c JOIN bodies b ON b.credential_id = c.id WHERE c.fingerprint IN `
	err := in(ctx, db, query, keys, func(rows *sql.Rows) error {
		_, c, err := scanCredential(rows)
		if err == nil {
			found[c.ID] = c
		}
		return err
	})
	return found, db.wrap("couldn't read the chain", err)
}

// EachCertificate calls fn for every X.509 certificate that is somewhere now
// and whose signature algorithm begins with a prefix, ordered by issuer.
func (db *DB) EachCertificate(ctx context.Context, prefix string, fn func(*tallystick.Credential) error) error {
	const query = `SELECT ` + fullColumns + ` FROM credentials c JOIN bodies b ON b.credential_id = c.id
		WHERE c.kind = 'certificate' AND c.present AND c.signature >= $1 AND c.signature < $2 ORDER BY c.issuer, c.authority_key_id`
	rows, err := db.read.QueryContext(ctx, query, prefix, prefixEnd(prefix))
	return db.wrap("couldn't read the certificates", each(rows, err, func(rows *sql.Rows) error {
		_, c, err := scanCredential(rows)
		if err != nil {
			return err
		}
		return fn(c)
	}))
}

// A KeyRow is one credential of a walk over all keys.
type KeyRow struct {
	RowID int64
	ID    tallystick.Fingerprint
	Kind  tallystick.Kind
	Key   tallystick.Key
	Owner string
}

// EachKey calls fn for every credential that is somewhere now, carries a known
// key and has an algorithm that begins with family; those of one key follow
// each other.
func (db *DB) EachKey(ctx context.Context, family string, fn func(KeyRow) error) error {
	const query = `SELECT c.id, c.fingerprint, c.kind, c.key_id, c.algorithm, c.bits, c.owner, b.spki
		FROM credentials c JOIN bodies b ON b.credential_id = c.id
		WHERE c.key_id > '' AND c.present AND c.algorithm >= $1 AND c.algorithm < $2 ORDER BY c.key_id, c.id`
	rows, err := db.read.QueryContext(ctx, query, family, prefixEnd(family))
	return db.wrap("couldn't read the keys", each(rows, err, func(rows *sql.Rows) error {
		var k KeyRow
		if err := rows.Scan(&k.RowID, &k.ID, &k.Kind, &k.Key.ID, &k.Key.Algorithm, &k.Key.Bits, &k.Owner, &k.Key.SPKI); err != nil {
			return err
		}
		return fn(k)
	}))
}

// EachKeySighting calls fn for every current sighting at which a private half
// is held or an account is opened; those of one key follow each other, in the
// same order as EachKey's.
func (db *DB) EachKeySighting(ctx context.Context, family string, fn func(tallystick.KeyID, SightingRow) error) error {
	const query = `SELECT ` + sightingColumns + `, c.key_id` + sightingFrom + `WHERE c.key_id > '' AND s.gone_since = 0
		AND s.role IN ('holds', 'accepts') AND s.scheme <> 'truststore' AND c.algorithm >= $1 AND c.algorithm < $2 ORDER BY c.key_id, s.id`
	rows, err := db.read.QueryContext(ctx, query, family, prefixEnd(family))
	return db.wrap("couldn't read where keys are", each(rows, err, func(rows *sql.Rows) error {
		var key tallystick.KeyID
		s, err := scanSighting(rows, &key)
		if err != nil {
			return err
		}
		return fn(key, s)
	}))
}

// RowIDs returns the row ids of credentials, for Judge.
func (db *DB) RowIDs(ctx context.Context, list []tallystick.Fingerprint) (map[tallystick.Fingerprint]int64, error) {
	ids := map[tallystick.Fingerprint]int64{}
	var keys []any
	for _, f := range list {
		keys = append(keys, string(f))
	}
	err := in(ctx, db, `SELECT fingerprint, id FROM credentials WHERE fingerprint IN `, keys, func(rows *sql.Rows) error {
		var f tallystick.Fingerprint
		var id int64
		err := rows.Scan(&f, &id)
		ids[f] = id
		return err
	})
	return ids, db.wrap("couldn't look up credentials", err)
}

// OpenSurveyed returns the credentials that have open findings of some rules.
func (db *DB) OpenSurveyed(ctx context.Context, rules []string) ([]tallystick.Fingerprint, error) {
	var keys []any
	for _, rule := range rules {
		keys = append(keys, rule)
	}
	var list []tallystick.Fingerprint
	const query = `SELECT DISTINCT c.fingerprint FROM findings f JOIN credentials c ON c.id = f.credential_id WHERE f.closed = 0 AND f.rule IN `
	err := in(ctx, db, query, keys, func(rows *sql.Rows) error {
		var f tallystick.Fingerprint
		err := rows.Scan(&f)
		list = append(list, f)
		return err
	})
	return list, db.wrap("couldn't read the open findings", err)
}

// TrustedOutside says whether a credential is in a trust store now, and nowhere
// at or below a place.
func (db *DB) TrustedOutside(ctx context.Context, credential tallystick.Fingerprint, place tallystick.Place) (bool, error) {
	const query = `SELECT COUNT(*) > 0 AND MIN(CASE WHEN p.uri = $2 OR (p.uri >= $3 AND p.uri < $4) THEN 0 ELSE 1 END) = 1
		AND MAX(CASE WHEN s.scheme = 'truststore' THEN 1 ELSE 0 END) = 1` + sightingFrom + `WHERE c.fingerprint = $1 AND s.gone_since = 0`
	var trusted bool
	below := string(place) + "/"
	err := db.read.QueryRowContext(ctx, query, string(credential), string(place), below, prefixEnd(below)).Scan(&trusted)
	return trusted, db.wrap("couldn't look up a root", err)
}

// judgedBy is the setting that holds the edition of the rules that judged last.
const judgedBy = "judged-by"

// JudgedBy makes every credential due, and closes the open findings of rules
// that are not among those named, when another edition of the rules judged
// last; it then remembers this one.
func (db *DB) JudgedBy(ctx context.Context, edition string, rules []string, now time.Time) error {
	var last string
	err := db.read.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = $1`, judgedBy).Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return db.wrap("couldn't read which rules judged last", err)
	}
	if last == edition {
		return nil
	}
	// The edition is remembered last, so that a process that is killed in
	// between begins again.
	if err := db.makeAllDue(ctx); err != nil {
		return db.wrap("couldn't take up the rules", err)
	}
	return db.wrap("couldn't take up the rules", db.tx(ctx, func(tx *writing) error {
		const remember = `INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
		if _, err := tx.ExecContext(ctx, remember, judgedBy, edition); err != nil {
			return err
		}
		args := []any{micros(now)}
		places := make([]string, 0, len(rules))
		for _, rule := range rules {
			args = append(args, rule)
			places = append(places, "$"+itoa(int64(len(args))))
		}
		retire := `UPDATE findings SET closed = $1 WHERE closed = 0 AND rule NOT IN (` + strings.Join(places, ",") + `)`
		_, err := tx.ExecContext(ctx, retire, args...)
		return err
	}))
}

// dueAtOnce is how many ids one transaction of makeAllDue goes through: other
// writers wait for it.
const dueAtOnce = 50_000

// makeAllDue puts every credential before the rules.
func (db *DB) makeAllDue(ctx context.Context) error {
	var last sql.NullInt64
	if err := db.read.QueryRowContext(ctx, `SELECT max(credential_id) FROM standing`).Scan(&last); err != nil {
		return err
	}
	for from := int64(0); from < last.Int64; from += dueAtOnce {
		err := db.tx(ctx, func(tx *writing) error {
			_, err := tx.ExecContext(ctx, makeDue+`> $1 AND credential_id <= $2`, from, from+dueAtOnce)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

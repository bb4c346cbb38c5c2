// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/tallystick/tallystick"
)

// A Source is where uses are read from. It is one book.
type Source struct {
	ID     int64           `json:"id"`
	Name   string          `json:"name"`
	Kind   string          `json:"kind"` // one of the words below
	Side   tallystick.Side `json:"side"`
	Format string          `json:"format,omitempty"` // of package uses; "" is recognised
	Path   string          `json:"path,omitempty"`
	// Driver is who reads a source of kind driver, with these options. No value of
	// them is a secret.
	Driver  string            `json:"driver,omitempty"`
	Options map[string]string `json:"options,omitempty"`
	// TokenHash is what a sender's token hashes to; "" for what is read from disk.
	TokenHash string `json:"-"`
	// Once says that it is read to its end and no further, and Done when it was.
	Once bool      `json:"once,omitempty"`
	Done time.Time `json:"done,omitzero"`
	// Settle is after how long nothing earlier will come; zero: it says so itself.
	Settle time.Duration `json:"settle,omitempty"`
	// Silence is after how long it should have been heard again; zero is never.
	Silence time.Duration `json:"silence,omitempty"`
	// KeepRaw is for how long what it wrote is kept as it was; zero is not.
	KeepRaw   time.Duration `json:"keep_raw,omitempty"`
	Created   time.Time     `json:"created"`
	CreatedBy string        `json:"created_by"`
	Paused    bool          `json:"paused,omitempty"`

	// Begun says that something of it was read: SourcePosition says how far.
	Begun      bool      `json:"-"`
	Heard      time.Time `json:"heard,omitzero"`
	Records    int64     `json:"records"`
	Duplicates int64     `json:"duplicates"`
	Malformed  int64     `json:"malformed"`
	Wrong      []string  `json:"wrong,omitempty"` // the newest malformed records, by file and line
	Error      string    `json:"error,omitempty"` // why it cannot be read now
}

// IsRead says that something is expected of it: it is not paused, nor a file that
// is read once.
func (s *Source) IsRead() bool { return !s.Paused && !s.Once && s.Done.IsZero() }

// HeardLast returns when it last gave anything, be it no use; heard is when its
// book did. It has had since it was made to say something. Where the marks of its
// book are made here, because it makes none, they are nothing that it said; nor are those of a driver, which it makes when nothing is new.
func (s *Source) HeardLast(heard time.Time) time.Time {
	if s.Settle > 0 || s.Kind == SourceDriver {
		heard = time.Time{}
	}
	for _, at := range []time.Time{s.Created, s.Heard} {
		if at.After(heard) {
			heard = at
		}
	}
	return heard
}

// The kinds of sources.
const (
	SourceFile      = "file"      // a file that is appended to and rotated
	SourceDirectory = "directory" // files that are put there
	SourceHTTP      = "http"      // use records that are posted
	SourceOTLP      = "otlp"      // OpenTelemetry logs over HTTP
	SourceSyslog    = "syslog"    // over TLS (RFC 5425)
	SourceDriver    = "driver"    // a real system, by a driver
)

// sourceColumns are the columns of a source, in the order of scanSource.
const sourceColumns = `id, name, kind, side, format, path, token_hash, once, done, settle, silence, keep_raw, created, created_by, paused,
	EXISTS (SELECT 1 FROM source_positions WHERE source = sources.id), heard, records, duplicates, malformed, wrong, error, driver, options`

// AddSource keeps a new source and returns it with its number. A name that is
// taken is ErrConflict.
func (db *DB) AddSource(ctx context.Context, s Source) (Source, error) {
	list := []Source{s}
	err := db.AddSources(ctx, list)
	return list[0], db.wrap("couldn't keep source "+s.Name, err)
}

// AddSources keeps new sources, all or none, and gives them their numbers. A name
// that is taken is ErrConflict.
func (db *DB) AddSources(ctx context.Context, list []Source) error {
	first, err := db.newIDs(ctx, int64(len(list)))
	if err != nil {
		return err
	}
	const insert = `INSERT INTO sources (id, name, kind, side, format, path, token_hash, once, settle, silence, keep_raw, created, created_by, driver, options)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`
	err = db.tx(ctx, func(tx *writing) error {
		for i := range list {
			s := &list[i]
			s.ID = first + int64(i)
			options, err := json.Marshal(s.Options)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, insert, s.ID, s.Name, s.Kind, string(s.Side), s.Format, s.Path, s.TokenHash, s.Once,
				s.Settle.Microseconds(), s.Silence.Microseconds(), s.KeepRaw.Microseconds(), micros(s.Created), s.CreatedBy, s.Driver, string(options))
			if err != nil {
				return err
			}
		}
		return nil
	})
	return db.wrap("couldn't keep sources", err)
}

// Sources returns all sources, by name.
func (db *DB) Sources(ctx context.Context) ([]Source, error) {
	const query = `SELECT ` + sourceColumns + ` FROM sources ORDER BY name`
	rows, err := db.read.QueryContext(ctx, query)
	return collect(db, "couldn't list the sources", rows, err, scanSource)
}

// Source returns the source of a name.
func (db *DB) Source(ctx context.Context, name string) (Source, error) {
	const query = `SELECT ` + sourceColumns + ` FROM sources WHERE name = $1`
	return db.oneSource(ctx, "couldn't read source "+name, query, name)
}

// SourceOfToken returns the source whose sender's token hashes to hash.
func (db *DB) SourceOfToken(ctx context.Context, hash string) (Source, error) {
	if hash == "" {
		return Source{}, db.wrap("couldn't find the source of a token", sql.ErrNoRows)
	}
	const query = `SELECT ` + sourceColumns + ` FROM sources WHERE token_hash = $1`
	return db.oneSource(ctx, "couldn't find the source of a token", query, hash)
}

// SourcePosition returns how far a source is read: of each of its files, JSON, or as its
// driver says. It may be tens of kilobytes long, so it is read by who goes on there alone.
func (db *DB) SourcePosition(ctx context.Context, id int64) (position string, err error) {
	const query = `SELECT COALESCE(p.position, '') FROM sources s LEFT JOIN source_positions p ON p.source = s.id WHERE s.id = $1`
	err = db.read.QueryRowContext(ctx, query, id).Scan(&position)
	return position, db.wrap("couldn't read how far a source is read", err)
}

func (db *DB) oneSource(ctx context.Context, doing, query, key string) (Source, error) {
	rows, err := db.read.QueryContext(ctx, query, key)
	found, err := collect(db, doing, rows, err, scanSource)
	if err != nil {
		return Source{}, err
	}
	if len(found) == 0 {
		return Source{}, db.wrap(doing, sql.ErrNoRows)
	}
	return found[0], nil
}

func scanSource(rows *sql.Rows) (Source, error) {
	var s Source
	var side, wrong, options string
	var done, settle, silence, keep, created, heard int64
	err := rows.Scan(&s.ID, &s.Name, &s.Kind, &side, &s.Format, &s.Path, &s.TokenHash, &s.Once, &done, &settle, &silence, &keep,
		&created, &s.CreatedBy, &s.Paused, &s.Begun, &heard, &s.Records, &s.Duplicates, &s.Malformed, &wrong, &s.Error, &s.Driver, &options)
	if err != nil {
		return s, err
	}
	s.Side, s.Done, s.Created, s.Heard = tallystick.Side(side), timeOf(done), timeOf(created), timeOf(heard)
	s.Settle, s.Silence, s.KeepRaw = ofMicros(settle), ofMicros(silence), ofMicros(keep)
	if s.Wrong, err = stringsOf(wrong); err != nil || s.Kind != SourceDriver {
		return s, err
	}
	return s, json.Unmarshal([]byte(options), &s.Options)
}

// ofMicros returns a duration that is kept in microseconds.
func ofMicros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// RemoveSource forgets a source; what it gave stays where it is.
func (db *DB) RemoveSource(ctx context.Context, id int64) error {
	if err := db.changeSource(ctx, "couldn't remove a source", `DELETE FROM sources WHERE id = $1`, id); err != nil {
		return err
	}
	return db.wrap("couldn't forget what a source remembers", db.tx(ctx, func(tx *writing) error { return forgetSource(ctx, tx, id) }))
}

// PauseSource says whether a source is to be read.
func (db *DB) PauseSource(ctx context.Context, id int64, paused bool) error {
	return db.changeSource(ctx, "couldn't pause a source", `UPDATE sources SET paused = $2 WHERE id = $1`, id, paused)
}

// A SourceProgress is what has been read of a source since it was last said.
type SourceProgress struct {
	Position   string    // from now on; "" leaves it as it is
	Heard      time.Time // zero: it gave nothing
	Records    int64     // more than before, as the next two
	Duplicates int64
	Malformed  int64
	Wrong      []string  // from now on; nil leaves it as it is
	Done       time.Time // when it was read to its end for good; zero is not
	// Error is what keeps something of it from being read; "" is nothing.
	Error string
}

// Add adds what was read later.
func (p *SourceProgress) Add(later SourceProgress) {
	p.Position, p.Error = cmp.Or(later.Position, p.Position), later.Error
	p.Records, p.Duplicates, p.Malformed = p.Records+later.Records, p.Duplicates+later.Duplicates, p.Malformed+later.Malformed
	if later.Heard.After(p.Heard) {
		p.Heard = later.Heard
	}
	if later.Wrong != nil {
		p.Wrong = later.Wrong
	}
	if later.Done.After(p.Done) {
		p.Done = later.Done
	}
}

// AdvanceSource keeps how far a source is read, and that nothing keeps it from
// being read unless p says so. It is ErrNotFound when the source was removed.
func (db *DB) AdvanceSource(ctx context.Context, id int64, p SourceProgress) error {
	return db.wrap("couldn't keep how far a source is read", db.tx(ctx, func(tx *writing) error {
		n, err := advance(ctx, tx, id, p)
		if err == nil && n == 0 {
			err = sql.ErrNoRows
		}
		return err
	}))
}

// AdvanceSources does so for many at once. Those that were removed are passed over.
func (db *DB) AdvanceSources(ctx context.Context, of map[int64]SourceProgress) error {
	if len(of) == 0 {
		return nil
	}
	return db.wrap("couldn't keep how far sources are read", db.tx(ctx, func(tx *writing) error {
		for id, p := range of {
			if _, err := advance(ctx, tx, id, p); err != nil {
				return err
			}
		}
		return nil
	}))
}

// advance does so for one, and says whether it is there: 1, or 0.
func advance(ctx context.Context, tx *writing, id int64, p SourceProgress) (int64, error) {
	const update = `UPDATE sources SET
		heard = CASE WHEN $2 > heard THEN $2 ELSE heard END,
		records = records + $3, duplicates = duplicates + $4, malformed = malformed + $5,
		wrong = CASE WHEN $6 = '' THEN wrong ELSE $6 END,
		done = CASE WHEN $7 > done THEN $7 ELSE done END, error = $8
		WHERE id = $1`
	const keep = `INSERT INTO source_positions (source, position) VALUES ($1, $2) ON CONFLICT (source) DO UPDATE SET position = excluded.position`
	wrong := ""
	if p.Wrong != nil {
		wrong = stringsText(p.Wrong)
	}
	result, err := tx.ExecContext(ctx, update, id, micros(p.Heard), p.Records, p.Duplicates, p.Malformed, wrong, micros(p.Done), p.Error)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	if err != nil || n == 0 || p.Position == "" {
		return n, err
	}
	_, err = tx.ExecContext(ctx, keep, id, p.Position)
	return n, err
}

// FailSource says why a source cannot be read now; "" is that it can.
func (db *DB) FailSource(ctx context.Context, id int64, why string) error {
	return db.changeSource(ctx, "couldn't keep why a source cannot be read", `UPDATE sources SET error = $2 WHERE id = $1`, id, why)
}

// changeSource runs a statement about one source, whose number is its first argument.
func (db *DB) changeSource(ctx context.Context, doing, query string, args ...any) error {
	return db.wrap(doing, db.tx(ctx, func(tx *writing) error {
		result, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return sql.ErrNoRows
	}))
}

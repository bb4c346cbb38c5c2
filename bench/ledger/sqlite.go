// SPDX-License-Identifier: Apache-2.0

package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver that the product has

	"github.com/tallystick/tallystick"
)

// A sqlite is what somebody would write who has a database already: a table in
// the order of credential and time, and an index that recognises duplicates. The
// names of a credential are numbers, so that the comparison is about the rows.
type sqlite struct {
	db    *sql.DB
	names map[string]int64
}

func openSQLite(dir string) (*sqlite, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "uses.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		`CREATE TABLE uses (credential INTEGER, time INTEGER, identity TEXT, source TEXT, side TEXT, seq INTEGER, holder TEXT, relying_party TEXT,
			outcome TEXT, address TEXT, resource TEXT, uti TEXT, correlation TEXT, PRIMARY KEY (credential, time, identity)) WITHOUT ROWID`,
		`CREATE UNIQUE INDEX uses_identity ON uses (identity)`,
	} {
		if _, err := db.Exec(statement); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return &sqlite{db, map[string]int64{}}, nil
}

func (s *sqlite) close() { _ = s.db.Close() }

func (s *sqlite) append(uses []tallystick.Use) error {
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	insert, err := tx.Prepare(`INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	for i := range uses {
		u := &uses[i]
		name := u.Credential[0]
		if s.names[name] == 0 {
			s.names[strings.Clone(name)] = int64(len(s.names) + 1)
		}
		identity := u.ID
		if identity == "" {
			identity = fmt.Sprintf("%s/%d/%s", u.Source, u.Seq, u.IDs.UTI)
			if u.Seq == 0 && u.IDs.UTI == "" {
				identity = fmt.Sprintf("%s/%d/%s/%s", u.Source, u.Time.UnixMicro(), name, u.RelyingParty)
			}
		}
		_, err := insert.Exec(s.names[name], u.Time.UnixMicro(), identity, u.Source, string(u.Side), int64(u.Seq), u.Holder, u.RelyingParty,
			string(u.Outcome), u.Address, u.Resource, u.IDs.UTI, u.IDs.Correlation)
		if err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func (s *sqlite) checkpoint() error {
	_, err := s.db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

func (s *sqlite) hour(name string, from, to time.Time) (n int, err error) {
	rows, err := s.db.Query(`SELECT time, source, side, seq, holder, relying_party, outcome, address, resource, uti, correlation FROM uses
		WHERE credential = ? AND time >= ? AND time < ?`, s.names[name], from.UnixMicro(), to.UnixMicro())
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var at, seq int64
	var text [9]string
	for rows.Next() {
		if err := rows.Scan(&at, &text[0], &text[1], &seq, &text[2], &text[3], &text[4], &text[5], &text[6], &text[7], &text[8]); err != nil {
			return 0, err
		}
		n++
	}
	return n, rows.Err()
}

// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"errors"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// Every way of changing the log behind its back shows, and the first record
// that suffered is named.
func TestTampering(t *testing.T) {
	rows := []struct {
		name, sql string
		bad       int64
	}{
		{"a word of a record", `UPDATE audit_log SET record = REPLACE(record, 'thing', 'thong') WHERE id = 7`, 7},
		{"a denial to a permission", `UPDATE audit_log SET record = REPLACE(record, 'false', 'true') WHERE id = 8`, 8},
		{"a column only", `UPDATE audit_log SET actor = 'eve' WHERE id = 9`, 9},
		{"the time column only", `UPDATE audit_log SET time = time + 1 WHERE id = 9`, 9},
		{"deleted in the middle", `DELETE FROM audit_log WHERE id = 5`, 5},
		{"deleted at the end", `DELETE FROM audit_log WHERE id = 13`, 13},
		{"deleted and closed up", `DELETE FROM audit_log WHERE id = 11; UPDATE audit_log SET id = 11 WHERE id = 12`, 11},
		{"two swapped", `UPDATE audit_log SET id = -3 WHERE id = 3; UPDATE audit_log SET id = 3 WHERE id = 4; UPDATE audit_log SET id = 4 WHERE id = -3`, 3},
		{"added at the end", `INSERT INTO audit_log SELECT 14, time, actor, action, allowed, record FROM audit_log WHERE id = 1`, 14},
		{"a hash of a record", `UPDATE audit_hashes SET hash = (SELECT hash FROM audit_hashes WHERE position = 0) WHERE position = 3`, 3},
		{"a hash of two records", `DELETE FROM audit_hashes WHERE position = 5`, 3},
		{"the end cut off", `DELETE FROM audit_log WHERE id = 13; UPDATE audit_head SET size = 12`, 13},
		{"the checkpoint", `UPDATE audit_head SET checkpoint = REPLACE(checkpoint, '13', '12')`, 0},
	}
	storetest.EachURL(t, func(t *testing.T, url string) {
		l := newLog(t, url)
		fill(t, l, 13)
		for _, row := range rows {
			for _, table := range []string{"audit_log", "audit_hashes", "audit_head"} {
				storetest.Exec(t, url, `CREATE TABLE saved_`+table+` AS SELECT * FROM `+table)
			}
			storetest.Exec(t, url, row.sql)
			report := verify(t, l)
			if report.OK() || report.Bad != row.bad {
				t.Errorf("%s: got %+v, want record %d", row.name, report, row.bad)
			}
			for _, table := range []string{"audit_log", "audit_hashes", "audit_head"} {
				storetest.Exec(t, url, `DELETE FROM `+table)
				storetest.Exec(t, url, `INSERT INTO `+table+` SELECT * FROM saved_`+table)
				storetest.Exec(t, url, `DROP TABLE saved_`+table)
			}
		}
		if report := verify(t, l); !report.OK() {
			t.Errorf("after restoring: %+v", report)
		}
	})
}

// A log whose end was changed is not signed again.
func TestNothingIsSignedOnTopOfTampering(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		key := filepath.Join(t.TempDir(), "audit.key")
		l := openLog(t, url, key)
		fill(t, l, 4)
		before, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 4)
		for _, sql := range []string{
			`UPDATE audit_head SET checkpoint = ''`,
			`UPDATE audit_hashes SET hash = (SELECT hash FROM audit_hashes WHERE position = 0) WHERE position = 14`,
			`DELETE FROM audit_hashes WHERE position = 14`,
		} {
			storetest.Exec(t, url, sql)
			if err := l.Append(t.Context(), record(9)); !errors.Is(err, audit.ErrTampered) {
				t.Errorf("%s: %v", sql, err)
			}
		}
		// Back to a state that was once signed: this process has seen more.
		storetest.Exec(t, url, `DELETE FROM audit_log WHERE id > 4`)
		storetest.Exec(t, url, `DELETE FROM audit_hashes WHERE position > 6`)
		storetest.Exec(t, url, `UPDATE audit_head SET size = 4, checkpoint = $1`, before)
		if err := l.Append(t.Context(), record(9)); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("rolled back: %v", err)
		}
	})
}

// Who has the key and the database can write another log, but not one that a
// checkpoint kept elsewhere would fit.
func TestKeptCheckpoint(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		key := filepath.Join(t.TempDir(), "audit.key")
		l := openLog(t, url, key)
		fill(t, l, 5)
		kept, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 3)
		if report := verify(t, l, kept); !report.OK() {
			t.Errorf("%+v", report)
		}
		storetest.Exec(t, url, `DELETE FROM audit_log`)
		storetest.Exec(t, url, `DELETE FROM audit_hashes`)
		storetest.Exec(t, url, `UPDATE audit_head SET size = 0, checkpoint = ''`)
		forged := openLog(t, url, key)
		if err := forged.Append(t.Context(), record(2)); err != nil {
			t.Fatal(err)
		}
		if report := verify(t, forged, kept); report.OK() || report.Bad != 2 {
			t.Errorf("a shorter log: %+v", report)
		}
		fill(t, forged, 6)
		if report := verify(t, forged); !report.OK() {
			t.Errorf("the forged log by itself: %+v", report)
		}
		if report := verify(t, forged, kept); report.OK() {
			t.Error("the forged log fits the checkpoint")
		}
	})
}

// For any length of the log and any record of it, one changed record is named.
func TestTamperingProperty(t *testing.T) {
	url := filepath.Join(t.TempDir(), "tally.db")
	l := newLog(t, url)
	fill(t, l, 1)
	rapid.Check(t, func(rt *rapid.T) {
		fill(t, l, rapid.IntRange(0, 2).Draw(rt, "more"))
		report := verify(t, l)
		if !report.OK() {
			rt.Fatalf("%+v", report)
		}
		bad := rapid.Int64Range(1, report.Records).Draw(rt, "bad")
		storetest.Exec(t, url, `UPDATE audit_log SET record = record || ' ' WHERE id = $1`, bad)
		if report := verify(t, l); report.Bad != bad {
			rt.Errorf("got %+v, want record %d", report, bad)
		}
		storetest.Exec(t, url, `UPDATE audit_log SET record = SUBSTR(record, 1, LENGTH(record) - 1) WHERE id = $1`, bad)
	})
}

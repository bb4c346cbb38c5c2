// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// checkCounts holds the numbers that are kept against the sightings.
func checkCounts(t *testing.T, db *store.DB) {
	t.Helper()
	for what, query := range map[string]string{
		"credentials whose number of places is wrong": `SELECT COUNT(*) FROM credentials c JOIN standing st ON st.credential_id = c.id WHERE
			st.places <> (SELECT COUNT(*) FROM sightings s WHERE s.credential_id = c.id AND s.gone_since = 0) OR c.present <> (st.places > 0)`,
		"credentials without a standing": `SELECT COUNT(*) FROM credentials WHERE id NOT IN (SELECT credential_id FROM standing)`,
		"places whose number of credentials is wrong": `SELECT COUNT(*) FROM places p WHERE
			p.present <> (SELECT COUNT(*) FROM sightings s WHERE s.place_id = p.id AND s.gone_since = 0)`,
	} {
		var n int
		if err := store.Write(db).QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			t.Errorf("%d %s", n, what)
		}
	}
}

// twoPlaces returns sightings of n credentials, each at two places, one of which all share.
func twoPlaces(n int, seen time.Time) []tallystick.Sighting {
	var list []tallystick.Sighting
	for i := range n {
		list = append(list, sighting(i, tallystick.FilePlace(fmt.Sprintf("/etc/%d.pem", i)), seen), sighting(i, "file:///etc/all.pem", seen))
	}
	return list
}

// Several jobs, or processes, may see the same things at once.
func TestRecordingAtOnce(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		seen := twoPlaces(150, noon)
		var writers sync.WaitGroup
		for source := range 4 {
			db := storetest.Open(t, url)
			writers.Go(func() {
				batch := store.Batch{Run: int64(source + 1), Source: fmt.Sprint(source), Sightings: seen}
				if recorded, err := db.Record(t.Context(), batch); err != nil || recorded.Appeared != 300 {
					t.Errorf("source %d: %d appeared, %v; want 300", source, recorded.Appeared, err)
				}
			})
		}
		writers.Wait()
		db := storetest.Open(t, url)
		checkCounts(t, db)
		for i := range 150 {
			if _, row, err := db.Credential(t.Context(), madeUp(i).ID); err != nil || row.Places != 8 {
				t.Fatalf("credential %d has %d places, %v; want 8", i, row.Places, err)
			}
		}
	})
}

// What somebody else has written since it was looked up is refused whole, so
// that Record can look again.
func TestRecordingRefusesWhatHasChanged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		known, fresh := twoPlaces(3, noon), twoPlaces(4, noon)
		batch := store.Batch{Run: 1, Source: "files", Sightings: known}
		if _, err := db.Record(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		vanish := func() {
			if n, err := db.Vanish(t.Context(), 2, "files", noon); err != nil || n != 6 {
				t.Fatalf("%d vanished, %v; want 6", n, err)
			}
		}
		record := func() {
			if _, err := db.Record(t.Context(), store.Batch{Run: 3, Source: "files", Sightings: fresh}); err != nil {
				t.Fatal(err)
			}
		}
		for _, row := range []struct {
			what    string
			seen    []tallystick.Sighting
			between func()
		}{
			{"a sighting ended", known, vanish}, {"a credential came", fresh, record},
		} {
			err := store.RecordInterrupted(t.Context(), db, store.Batch{Run: 3, Source: "files", Sightings: row.seen}, row.between)
			if !errors.Is(err, tallystick.ErrConflict) && !errors.Is(store.Wrap(db, "", err), tallystick.ErrConflict) {
				t.Errorf("%s: %v, want a conflict", row.what, err)
			}
			checkCounts(t, db)
			if _, err := db.Record(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A run that another process has taken over may end what this one sees again.
func TestVanishingWhileRecording(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		one, other := storetest.Open(t, url), storetest.Open(t, url)
		batch := store.Batch{Run: 1, Source: "files", Sightings: twoPlaces(60, noon)}
		if _, err := one.Record(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		for run := int64(2); run < 8; run++ {
			batch.Run = run
			var both sync.WaitGroup
			both.Go(func() {
				if _, err := one.Record(t.Context(), batch); err != nil {
					t.Error(err)
				}
			})
			both.Go(func() {
				if _, err := other.Vanish(t.Context(), run, "files", noon.Add(time.Duration(run)*time.Hour)); err != nil {
					t.Error(err)
				}
			})
			both.Wait()
			checkCounts(t, one)
		}
	})
}

// What is gone leaves the list, and comes back into it.
func TestPresenceFollowsThePlaces(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for hour, want := range []int64{5, 0, 5, 2} {
			seen := noon.Add(time.Duration(hour) * time.Hour)
			look(t, db, seen, twoPlaces(int(want), seen))
			if n, err := db.CountCredentials(t.Context(), store.CredentialFilter{}); err != nil || n != want {
				t.Errorf("hour %d: %d credentials are somewhere, %v; want %d", hour, n, err, want)
			}
			checkCounts(t, db)
		}
	})
}

// A word that everything has is not written for everything, and finds everything.
func TestCommonWords(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const all = store.BroadTerm + 1000
		for from := 0; from < all; from += 500 {
			var batch []tallystick.Sighting
			for n := from; n < from+500; n++ {
				batch = append(batch, sighting(n, "file:///etc/all.pem", noon))
			}
			if _, err := db.Record(t.Context(), store.Batch{Run: 1, Source: "files", Sightings: batch}); err != nil {
				t.Fatal(err)
			}
		}
		var written int
		if err := store.Write(db).QueryRowContext(t.Context(), `SELECT COUNT(*) FROM terms WHERE term = 'example.org'`).Scan(&written); err != nil {
			t.Fatal(err)
		}
		if written < store.BroadTerm || written == all {
			t.Errorf("a word of %d credentials was written %d times", all, written)
		}
		last := fmt.Sprintf("host%d.example.org", all-1)
		for text, want := range map[string]int64{"example.org": all, "exam": all, last: 1, "example " + last: 1, "example nothing": 0} {
			if n, err := db.CountCredentials(t.Context(), store.CredentialFilter{Text: text}); err != nil || n != want {
				t.Errorf("a search for %q finds %d, %v; want %d", text, n, err, want)
			}
		}
	})
}

// A store of the first schema keeps everything, and goes on.
func TestOldStoreIsCarriedOver(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		if err := store.MakeOld(t.Context(), url, 4); err != nil {
			t.Fatal(err)
		}
		c := madeUp(1)
		storetest.Exec(t, url, `INSERT INTO credentials (id, fingerprint, kind, key_id, algorithm, bits, subject, issuer, serial, names, not_before, not_after,
			signature, is_ca, self_issued, logged, usages, subject_key_id, authority_key_id, read_error, first_seen, search, present, places, version, recheck_at)
			VALUES (10, '`+string(c.ID)+`', 'certificate', '`+string(c.Key.ID)+`', 'ecdsa-p256', 256, 'CN=old', '', '', '[]', 0, 1, '', FALSE, FALSE, FALSE, '[]', '', '', '', 1, '', TRUE, 1, 7, 0)`)
		storetest.Exec(t, url, `INSERT INTO bodies (credential_id, raw, spki) VALUES (10, '', '')`)
		storetest.Exec(t, url, `INSERT INTO places (id, uri, scheme, first_seen, present) VALUES (11, 'file:///etc/a.pem', 'file', 1, 1)`)
		const old = `INSERT INTO sightings (id, credential_id, place_id, source, role, scheme, first_seen, last_seen, gone_since, first_run, last_run, gone_run, facts, previous_facts) VALUES `
		const facts = `'{"file":{"format":"pem","mode":"0600"}}'`
		storetest.Exec(t, url, old+`(12, 10, 11, 'files', 'presents', 'file', 1, 2, 3, 1, 1, 2, `+facts+`, ''), (13, 10, 11, 'files', 'presents', 'file', 4, 5, 0, 3, 3, 0, `+facts+`, '')`)
		storetest.Exec(t, url, `UPDATE counters SET next = 100`)

		db := storetest.Open(t, url)
		checkCounts(t, db)
		due, err := db.Due(t.Context(), noon, 10)
		if err != nil || len(due) != 1 || due[0].Version != 7 || len(due[0].Sightings) != 1 {
			t.Errorf("due are %+v, %v; want one of version 7 at one place", due, err)
		}
		s := sighting(1, "file:///etc/a.pem", noon)
		if _, recorded := look(t, db, noon, []tallystick.Sighting{s}); recorded.Appeared != 0 {
			t.Errorf("%d appeared, though it was there", recorded.Appeared)
		}
		periods, err := db.SightingsOf(t.Context(), c.ID, 10)
		if err != nil || len(periods) != 2 {
			t.Fatalf("%d periods, %v; want 2", len(periods), err)
		}
		if d := cmp.Diff([]string{"0644", "0600"}, []string{periods[0].File.Mode, periods[1].File.Mode}); d != "" {
			t.Errorf("modes differ:\n%s", d)
		}
		checkCounts(t, db)
	})
}

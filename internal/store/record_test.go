// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// noon is when the stories of these tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// madeUp returns a credential with every field set; n tells them apart.
func madeUp(n int) tallystick.Credential {
	raw, spki := fmt.Appendf(nil, "certificate %d", n), fmt.Appendf(nil, "key %d", n/2)
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate,
		Key:     tallystick.Key{ID: tallystick.KeyIDOf(spki), Algorithm: "ecdsa-p256", Bits: 256, SPKI: spki},
		Subject: fmt.Sprintf("CN=host%d.example.org,O=Example", n), Issuer: "CN=Example CA", Serial: fmt.Sprintf("%x", n+1),
		Names: []string{fmt.Sprintf("host%d.example.org", n)}, Signature: "ecdsa-sha256",
		NotBefore: noon.AddDate(0, -1, 0), NotAfter: noon.AddDate(0, 0, n), Usages: []string{"server"},
		SubjectKeyID: "01", AuthorityKeyID: "02", Logged: true, Raw: raw, ReadError: "odd",
	}
}

func sighting(n int, place tallystick.Place, seen time.Time) tallystick.Sighting {
	return tallystick.Sighting{
		Credential: madeUp(n), Place: place, Role: tallystick.RolePresents, Seen: seen,
		Facts: tallystick.Facts{File: &tallystick.FileFacts{Format: "pem", Mode: "0644"}},
	}
}

// look does a whole run: record, vanish.
func look(t *testing.T, db *store.DB, seen time.Time, sightings []tallystick.Sighting, misses ...tallystick.Miss) (store.Run, store.Recorded) {
	t.Helper()
	run, err := db.AddRun(t.Context(), store.Run{Source: "files", Driver: "files", Requested: "test", Queued: seen})
	if err != nil {
		t.Fatal(err)
	}
	run, err = db.ClaimRun(t.Context(), "node", seen, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := db.Record(t.Context(), store.Batch{Run: run.ID, Source: "files", Sightings: sightings, Misses: misses})
	if err != nil {
		t.Fatal(err)
	}
	if run.Vanished, err = db.Vanish(t.Context(), run.ID, "files", seen); err != nil {
		t.Fatal(err)
	}
	run.State, run.Finished = store.RunDone, seen
	if err := db.FinishRun(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return run, recorded
}

func TestCredentialComesBackWhole(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		want := madeUp(1)
		look(t, db, noon, []tallystick.Sighting{sighting(1, "file:///a.pem", noon)})
		got, row, err := db.Credential(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("the credential that was stored and the one that was read differ:\n%s", d)
		}
		if row.Places != 1 || !row.FirstSeen.Equal(noon) {
			t.Errorf("row has %d places, first seen %v", row.Places, row.FirstSeen)
		}
	})
}

// A certificate may hold any bytes where text should be; PostgreSQL refuses
// some of them.
func TestOddTextIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s := sighting(1, tallystick.FilePlace("/odd\xff\x00name"), noon)
		s.Credential.Subject = "CN=\x00\xff\u202e"
		s.Credential.Names = []string{"\x00", "a\xffb.example.org"}
		s.File.Owner = "\x00\xff"
		look(t, db, noon, []tallystick.Sighting{s}, tallystick.Miss{Place: "file:///b", Error: "denied", Detail: "\x00\xff", Seen: noon})
		if _, _, err := db.Credential(t.Context(), s.Credential.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestRecordingTwiceChangesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		seen := []tallystick.Sighting{sighting(1, "file:///a.pem", noon), sighting(2, "file:///a.pem", noon), sighting(1, "file:///b.pem", noon)}
		_, first := look(t, db, noon, append(seen, seen...))
		run, second := look(t, db, noon.Add(time.Hour), seen)
		if first.Appeared != 3 || second.Appeared != 0 || run.Vanished != 0 {
			t.Errorf("appeared %d and then %d, vanished %d; want 3, 0, 0", first.Appeared, second.Appeared, run.Vanished)
		}
		_, row, err := db.Credential(t.Context(), madeUp(1).ID)
		if err != nil || row.Places != 2 {
			t.Errorf("%d places, %v; want 2", row.Places, err)
		}
	})
}

// The life of a sighting: there, gone, back; each period is kept.
func TestPeriodsAreKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		a := sighting(1, "file:///a.pem", noon)
		later := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
		look(t, db, noon, []tallystick.Sighting{a})
		gone, _ := look(t, db, later(1), nil)
		a.Seen = later(2)
		back, recorded := look(t, db, later(2), []tallystick.Sighting{a})
		if gone.Vanished != 1 || recorded.Appeared != 1 {
			t.Fatalf("vanished %d, came back %d; want 1 and 1", gone.Vanished, recorded.Appeared)
		}
		periods, err := db.SightingsOf(t.Context(), a.Credential.ID, 10)
		if err != nil || len(periods) != 2 {
			t.Fatalf("%d periods, %v; want 2", len(periods), err)
		}
		if !periods[0].GoneSince.IsZero() || !periods[1].GoneSince.Equal(later(1)) || !periods[1].FirstSeen.Equal(noon) {
			t.Errorf("periods are %+v", periods)
		}
		changes, err := changesOf(t, db, back.ID-1, back.ID)
		if err != nil || len(changes) != 1 || changes[0].Kind != store.ChangeReturned {
			t.Errorf("the run reports %+v, %v; want one return", changes, err)
		}
		changes, err = changesOf(t, db, gone.ID-1, gone.ID)
		if err != nil || len(changes) != 1 || changes[0].Kind != store.ChangeGone || changes[0].Place != a.Place {
			t.Errorf("the run reports %+v, %v; want one vanished", changes, err)
		}
	})
}

// Not being able to look is not the same as seeing nothing.
func TestMissedPlacesDoNotVanish(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		look(t, db, noon, []tallystick.Sighting{
			sighting(1, "file:///etc/a/x.pem", noon), sighting(2, "file:///etc/ab.pem", noon), sighting(3, "file:///etc/b.pem", noon),
		})
		denied := []tallystick.Miss{
			{Place: "file:///etc/a", Error: "denied", Seen: noon}, {Place: "file:///etc/b.pem", Error: "malformed", Seen: noon},
		}
		run, _ := look(t, db, noon.Add(time.Hour), nil, denied...)
		if run.Vanished != 1 {
			t.Errorf("%d vanished, want only /etc/ab.pem", run.Vanished)
		}
	})
}

func TestChangedFactsKeepTheOldOnes(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		db := storetest.Open(t, url)
		s := sighting(1, "file:///a.pem", noon)
		look(t, db, noon, []tallystick.Sighting{s})
		s.File = &tallystick.FileFacts{Format: "pem", Mode: "0600"}
		s.Seen = noon.Add(time.Hour)
		_, recorded := look(t, db, s.Seen, []tallystick.Sighting{s})
		if recorded.Appeared != 0 {
			t.Error("a changed mode is not a new sighting")
		}
		periods, err := db.SightingsOf(t.Context(), s.Credential.ID, 10)
		if err != nil || len(periods) != 1 || periods[0].File.Mode != "0600" {
			t.Fatalf("%+v, %v", periods, err)
		}
		past, err := store.PastFacts(t.Context(), db, s.Credential.ID, 10)
		if err != nil || len(past) != 1 || past[0].File.Mode != "0644" || !past[0].Until.Equal(s.Seen) {
			t.Errorf("the past is %+v, %v; want mode 0644 until %v", past, err, s.Seen)
		}
	})
}

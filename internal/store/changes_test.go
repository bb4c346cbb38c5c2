// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// changesOf returns everything that changed between two runs of the tests' job.
func changesOf(t *testing.T, db *store.DB, from, to int64) ([]store.RunChange, error) {
	t.Helper()
	var list []store.RunChange
	err := db.EachChange(t.Context(), store.Between{Source: "files", From: from, To: to}, func(c store.RunChange) error {
		list = append(list, c)
		return nil
	})
	return list, err
}

// told writes changes as "kind subject place", sorted.
func told(list []store.RunChange) []string {
	words := []string{}
	for _, c := range list {
		words = append(words, fmt.Sprintf("%s %s %s", c.Kind, strings.SplitN(c.Subject, ".", 2)[0], c.Place))
	}
	slices.Sort(words)
	return words
}

// issued is a certificate number n for a name, valid from some days after noon.
func issued(n int, name string, days int, place tallystick.Place) tallystick.Sighting {
	s := sighting(n, place, noon)
	s.Credential.Subject, s.Credential.Names = "CN="+name+".example", []string{name + ".example"}
	s.Credential.NotBefore = noon.AddDate(0, 0, days)
	return s
}

func TestChangesAreNamed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const a, b, c, d = "tls://a:443", "tls://b:443", "tls://c:443", "tls://d:443"
		mode := issued(8, "mode", 0, d)
		first, _ := look(t, db, noon, []tallystick.Sighting{
			issued(1, "web", 0, a), issued(2, "mail", 5, b), issued(3, "lost", 0, c), issued(4, "other", 0, c), mode,
		})
		mode.File = &tallystick.FileFacts{Format: "pem", Mode: "0600"}
		mode.Seen = noon.Add(time.Hour)
		// The renewal has another subject but the same names, and what went back the same subject and further names.
		web, mail := issued(11, "web", 60, a), issued(12, "mail", -60, b)
		web.Credential.Subject, mail.Credential.Names = "", []string{"mail.example", "more.example"}
		second, _ := look(t, db, noon.Add(time.Hour), []tallystick.Sighting{web, mail, issued(15, "fresh", 0, c), issued(4, "other", 0, c), mode})
		changes, err := changesOf(t, db, second.ID-1, second.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			"changed CN=mode " + d, "gone CN=lost " + c, "new CN=fresh " + c, "renewed  " + a, "replaced CN=mail " + b, "replaced CN=web " + a, "went-back CN=mail " + b,
		}
		if diff := cmp.Diff(want, told(changes)); diff != "" {
			t.Errorf("what changed (-want +got):\n%s", diff)
		}
		for _, change := range changes {
			switch change.Kind {
			case store.ChangeRenewed:
				if change.Replaces != madeUp(1).ID || !change.ReplacesNotBefore.Equal(noon) {
					t.Errorf("renewed: %+v", change)
				}
			case store.ChangeWentBack:
				if change.Replaces != madeUp(2).ID || !change.NotBefore.Before(change.ReplacesNotBefore) {
					t.Errorf("went back: %+v", change)
				}
			case store.ChangeFacts:
				if change.Before.File.Mode != "0644" || change.After.File.Mode != "0600" || !change.Time.Equal(mode.Seen) {
					t.Errorf("changed: %+v", change)
				}
			}
		}
		counts, err := db.CountChanges(t.Context(), store.Between{Source: "files", From: second.ID - 1, To: second.ID})
		wanted := store.ChangeCounts{New: 1, Renewed: 1, WentBack: 1, Gone: 1, Changed: 1, Kinds: map[tallystick.Kind]int64{"certificate": 1}}
		if diff := cmp.Diff(wanted, counts); diff != "" || err != nil || counts.Sum() != 5 {
			t.Errorf("the numbers (-want +got), %v:\n%s", err, diff)
		}
		counts, err = db.CountChanges(t.Context(), store.Between{Source: "files", From: first.ID - 1, To: first.ID})
		if err != nil || !counts.First || counts.Sum() != 5 || counts.New != 5 {
			t.Errorf("the first look: %+v, %v", counts, err)
		}
	})
}

// Two certificates for the same names, as for two sorts of keys, are each held
// against their own kind.
func TestTwoCertificatesOfAName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const place = "tls://a:443"
		rsa := func(n, days int) tallystick.Sighting {
			s := issued(n, "web", days, place)
			s.Credential.Key.Algorithm = "rsa-2048"
			return s
		}
		look(t, db, noon, []tallystick.Sighting{issued(1, "web", 10, place), rsa(3, 0)})
		run, _ := look(t, db, noon.Add(time.Hour), []tallystick.Sighting{issued(5, "web", 50, place), rsa(7, 50)})
		changes, err := changesOf(t, db, run.ID-1, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			want := map[tallystick.Fingerprint]tallystick.Fingerprint{madeUp(5).ID: madeUp(1).ID, madeUp(7).ID: madeUp(3).ID}[c.Credential]
			if c.Replaces != want || (want == "") != (c.Kind == store.ChangeReplaced) {
				t.Errorf("%s replaces %s: %+v", c.Credential.Short(), c.Replaces.Short(), c)
			}
		}
		if len(changes) != 4 {
			t.Errorf("%d changes", len(changes))
		}
	})
}

// What is compared are the two ends; what went and came back between is the same.
func TestRunsAreCompared(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const a, b, c = "tls://a:443", "tls://b:443", "tls://c:443"
		later := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
		first, _ := look(t, db, noon, []tallystick.Sighting{issued(1, "web", 0, a), issued(2, "flap", 0, b), issued(3, "old", 0, c)})
		look(t, db, later(1), []tallystick.Sighting{issued(11, "web", 10, a), issued(4, "short", 0, b)})
		third, _ := look(t, db, later(2), []tallystick.Sighting{issued(21, "web", 20, a), issued(2, "flap", 0, b)})
		look(t, db, later(3), nil)
		changes, err := changesOf(t, db, first.ID, third.ID)
		want := []string{"gone CN=old " + c, "renewed CN=web " + a, "replaced CN=web " + a}
		if diff := cmp.Diff(want, told(changes)); diff != "" || err != nil {
			t.Errorf("what changed from the first to the third (-want +got), %v:\n%s", err, diff)
		}
	})
}

func TestChangesArePaged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var seen []tallystick.Sighting
		for n := range 25 {
			seen = append(seen, issued(n, fmt.Sprintf("host%02d", n), 0, tallystick.Place(fmt.Sprintf("tls://h%02d:443", 24-n))))
		}
		run, _ := look(t, db, noon, seen)
		between := store.Between{Source: "files", From: run.ID - 1, To: run.ID}
		for sort, first := range map[string]string{"place": "tls://h00:443", "credential": "tls://h24:443", "found": ""} {
			got := map[tallystick.Place]bool{}
			page := store.PageRequest{Sort: sort, Limit: 10}
			for {
				list, err := db.Changes(t.Context(), between, store.ChangeNew, page)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) == 0 && first != "" && list.Items[0].Place != tallystick.Place(first) {
					t.Errorf("by %s the first is %s", sort, list.Items[0].Place)
				}
				for _, c := range list.Items {
					got[c.Place] = true
				}
				if page.After = list.Next; page.After == "" {
					break
				}
			}
			if len(got) != 25 {
				t.Errorf("by %s: %d of 25", sort, len(got))
			}
		}
		if list, err := db.Changes(t.Context(), between, store.ChangeGone, store.PageRequest{}); err != nil || len(list.Items) != 0 {
			t.Errorf("gone: %+v, %v", list, err)
		}
		if _, err := db.Changes(t.Context(), between, "appeared", store.PageRequest{}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("an unknown kind: %v", err)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// estate fills a store with 25 certificates, five of them at a second place.
func estate(t *testing.T, db *store.DB) {
	t.Helper()
	var all []tallystick.Sighting
	for n := range 25 {
		s := sighting(n, tallystick.FilePlace("/srv/"+string(rune('a'+n))+".pem"), noon)
		if n%3 == 0 {
			s.Credential.Key.Algorithm = "rsa-2048"
		}
		all = append(all, s)
		if n%5 == 0 {
			all = append(all, tallystick.Sighting{Credential: s.Credential, Place: "tls://127.0.0.1:443", Role: tallystick.RolePresents, Seen: noon})
		}
	}
	look(t, db, noon, all)
}

// walk reads a list to its end, page by page.
func walk(t *testing.T, db *store.DB, f store.CredentialFilter, page store.PageRequest) []string {
	t.Helper()
	var subjects []string
	for range 100 {
		got, err := db.Credentials(t.Context(), f, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range got.Items {
			subjects = append(subjects, row.Subject)
		}
		if page.After = got.Next; page.After == "" {
			return subjects
		}
	}
	t.Fatal("the list has no end")
	return nil
}

func TestPagingShowsEverythingOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		for _, sort := range []string{"", "expires", "subject", "seen", "places", "severity"} {
			for _, desc := range []bool{false, true} {
				whole := walk(t, db, store.CredentialFilter{}, store.PageRequest{Sort: sort, Desc: desc, Limit: 1000})
				paged := walk(t, db, store.CredentialFilter{}, store.PageRequest{Sort: sort, Desc: desc, Limit: 3})
				if len(whole) != 25 {
					t.Errorf("sorted by %q: %d credentials, want 25", sort, len(whole))
				}
				if d := cmp.Diff(whole, paged); d != "" {
					t.Errorf("sorted by %q, descending %v, paging changes the list:\n%s", sort, desc, d)
				}
			}
		}
	})
}

func TestCredentialFilters(t *testing.T) {
	day := func(n int) time.Time { return noon.AddDate(0, 0, n) }
	filters := []struct {
		name   string
		filter store.CredentialFilter
		want   int
	}{
		{"nothing", store.CredentialFilter{}, 25},
		{"kind", store.CredentialFilter{Kind: "key"}, 0},
		{"algorithm", store.CredentialFilter{Algorithm: "rsa-2048"}, 9},
		{"family", store.CredentialFilter{Algorithm: "rsa-"}, 9},
		{"issuer", store.CredentialFilter{Issuer: "CN=Example CA"}, 25},
		{"key", store.CredentialFilter{KeyID: string(madeUp(2).Key.ID)}, 2},
		{"ending", store.CredentialFilter{EndsAfter: day(3), EndsBefore: day(6)}, 3},
		{"place", store.CredentialFilter{Place: "tls://127.0.0.1:443"}, 5},
		{"scheme", store.CredentialFilter{Scheme: "tls"}, 5},
		{"role", store.CredentialFilter{Role: "holds"}, 0},
		{"owner", store.CredentialFilter{Owner: "web"}, 1},
		{"nobody", store.CredentialFilter{Owner: "-"}, 24},
		{"tag", store.CredentialFilter{Tag: "edge"}, 1},
		{"environment", store.CredentialFilter{Environment: "prod"}, 1},
		{"domain", store.CredentialFilter{Text: "example.org"}, 25},
		{"host", store.CredentialFilter{Text: "HOST7"}, 1},
		{"words", store.CredentialFilter{Text: "host7 example"}, 1},
		{"fingerprint", store.CredentialFilter{Text: string(madeUp(7).ID[:10])}, 1},
		{"wildcards are letters", store.CredentialFilter{Text: "%"}, 0},
		{"gone", store.CredentialFilter{Gone: true}, 0},
		{"severity", store.CredentialFilter{Severity: tallystick.SeverityHigh}, 0},
		{"rule", store.CredentialFilter{Rule: "expired"}, 0},
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		said := store.PastAnnotation{Time: noon, Author: "ann", Annotation: tallystick.Annotation{Owner: "web", Environment: "prod", Tags: []string{"edge", "edge"}}}
		if err := db.Annotate(t.Context(), madeUp(4).ID, said); err != nil {
			t.Fatal(err)
		}
		for _, f := range filters {
			rows := walk(t, db, f.filter, store.PageRequest{})
			n, err := db.CountCredentials(t.Context(), f.filter)
			if len(rows) != f.want || n != int64(f.want) || err != nil {
				t.Errorf("%s: %d listed, %d counted, %v; want %d", f.name, len(rows), n, err, f.want)
			}
		}
	})
}

func TestBadListRequests(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, page := range []store.PageRequest{{Sort: "1; DROP TABLE"}, {After: "!"}, {After: "e30"}} {
			if _, err := db.Credentials(t.Context(), store.CredentialFilter{}, page); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%+v gives %v, want ErrInvalid", page, err)
			}
		}
	})
}

func TestPlaces(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		page, err := db.Places(t.Context(), store.PlaceFilter{}, store.PageRequest{Sort: "credentials", Desc: true, Limit: 1})
		if err != nil || len(page.Items) != 1 || page.Items[0].Present != 5 || page.Next == "" {
			t.Errorf("the fullest place is %+v, %v; want the endpoint with 5", page, err)
		}
		n, err := db.CountPlaces(t.Context(), store.PlaceFilter{Prefix: "file:///srv/"})
		if err != nil || n != 25 {
			t.Errorf("%d places beneath /srv, %v; want 25", n, err)
		}
	})
}

func TestAnnotationsKeepTheirHistory(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		id := madeUp(1).ID
		for i, owner := range []string{"web", "web", "mail"} {
			said := store.PastAnnotation{Time: noon.Add(time.Duration(i) * time.Hour), Author: "ann", Annotation: tallystick.Annotation{Owner: owner}}
			if err := db.Annotate(t.Context(), id, said); err != nil {
				t.Fatal(err)
			}
		}
		history, err := db.Annotations(t.Context(), id, 10)
		if err != nil || len(history) != 2 || history[0].Owner != "mail" {
			t.Errorf("history is %+v, %v; want mail after web", history, err)
		}
		if err := db.Annotate(t.Context(), "00", store.PastAnnotation{}); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("annotating nothing gives %v, want ErrNotFound", err)
		}
	})
}

func TestSummary(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		s, err := db.Summary(t.Context(), noon.AddDate(0, 0, 5), 10)
		if err != nil {
			t.Fatal(err)
		}
		if s.Credentials != 25 || s.Keys != 13 || s.Places != 26 || s.Expired != 5 || len(s.Ending) != 10 {
			t.Errorf("summary is %+v", s)
		}
	})
}

// What a client sends may be any bytes, and a cursor of another list.
func TestOddFilters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		estate(t, db)
		odd := "a\x00\xff"
		for _, f := range []store.CredentialFilter{{Text: odd}, {Issuer: odd}, {Place: tallystick.Place(odd)}, {Owner: odd}, {Tag: odd}, {Rule: odd}, {Algorithm: odd + "-"}} {
			if rows := walk(t, db, f, store.PageRequest{}); len(rows) != 0 {
				t.Errorf("%+v finds %d", f, len(rows))
			}
		}
		if _, err := db.Findings(t.Context(), store.FindingFilter{Owner: odd, Rule: odd, Now: noon}, store.PageRequest{}); err != nil {
			t.Error(err)
		}
		if _, _, err := db.Credential(t.Context(), tallystick.Fingerprint(odd)); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("an odd fingerprint gives %v, want ErrNotFound", err)
		}
		page, err := db.Credentials(t.Context(), store.CredentialFilter{}, store.PageRequest{Sort: "subject", Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Credentials(t.Context(), store.CredentialFilter{}, store.PageRequest{Sort: "expires", After: page.Next}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("the cursor of another order gives %v, want ErrInvalid", err)
		}
	})
}

// A word that thousands have is found by another way than a rare one; both
// ways find the same.
func TestCommonWord(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var all []tallystick.Sighting
		for n := range 2100 {
			all = append(all, sighting(n, "file:///many.pem", noon))
		}
		look(t, db, noon, all)
		for text, want := range map[string]int{"example.org": 2100, "EXAMPLE.ORG host77": 11, "exampl_.org": 0, "host7": 111} {
			if rows := walk(t, db, store.CredentialFilter{Text: text}, store.PageRequest{Limit: 1000}); len(rows) != want {
				t.Errorf("%q finds %d, want %d", text, len(rows), want)
			}
		}
	})
}

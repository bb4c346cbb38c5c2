// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

func TestIncidents(t *testing.T) {
	onBoth(t, func(f *fixture) {
		list, n, err := f.Incidents(f.Context(), viewer, usage.IncidentFilter{}, store.PageRequest{})
		if err != nil || n != 1 || len(list.Items) != 1 {
			f.Fatalf("%+v, %d, %v", list, n, err)
		}
		i, err := f.Incident(f.Context(), viewer, list.Items[0].ID)
		must(f.T, err)
		want := &usage.Incident{
			ID: list.Items[0].ID, Credential: list.Items[0].Credential, Opened: noon, First: f.uses["foreign0"].Time, Last: f.uses["foreign2"].Time,
			Uses: 3, Parties: 2, Addresses: 1, TopAddresses: []usage.Count{{Name: thief, Uses: 3}}, TopParties: []usage.Count{{Name: exchange, Uses: 2}, {Name: graph, Uses: 1}},
		}
		if d := cmp.Diff(want, i); d != "" {
			f.Error(d)
		}
		if other, _, err := f.Incidents(f.Context(), viewer, usage.IncidentFilter{Credential: f.fingerprint, All: true}, store.PageRequest{}); err != nil || len(other.Items) != 1 {
			f.Errorf("of the credential: %+v, %v", other, err)
		}
		if _, err := f.Incident(f.Context(), viewer, 1<<40); !errors.Is(err, tallystick.ErrNotFound) {
			f.Error(err)
		}
		if _, err := f.Incident(f.Context(), nobody, i.ID); !errors.Is(err, tallystick.ErrUnsigned) {
			f.Error(err)
		}
	})
}

func TestConnections(t *testing.T) {
	onBoth(t, func(f *fixture) {
		list, n, err := f.Connections(f.Context(), viewer, f.fingerprint, "", store.PageRequest{Limit: 1})
		must(f.T, err)
		if n != 2 || len(list.Items) != 1 || list.Items[0].Party != exchange || list.Items[0].Foreign != 2 || list.Items[0].Relying != 2 || list.Next == "" {
			f.Errorf("%d: %+v", n, list)
		}
		rest, _, err := f.Connections(f.Context(), viewer, f.fingerprint, "", store.PageRequest{Limit: 1, After: list.Next})
		must(f.T, err)
		if len(rest.Items) != 1 || rest.Items[0].Party != graph || rest.Items[0].Foreign != 1 || rest.Next != "" {
			f.Errorf("%+v", rest)
		}
		at, n, err := f.Connections(f.Context(), viewer, "", graph, store.PageRequest{})
		if err != nil || n != 1 || at.Items[0].Credential.Subject != credentialName {
			f.Errorf("%d: %+v, %v", n, at, err)
		}
	})
}

func TestBooksSayWhoIsSilent(t *testing.T) {
	onBoth(t, func(f *fixture) {
		for _, s := range []store.Source{
			{Name: "entra", Silence: time.Hour},
			{Name: "quiet", Silence: time.Hour, Created: noon.Add(-2 * time.Hour)},
			{Name: "young", Silence: time.Hour, Created: noon.Add(-time.Minute)},
			{Name: "read", Silence: time.Hour, Created: noon.Add(-2 * time.Hour), Once: true},
			{Name: "loose", Created: noon.Add(-2 * time.Hour)},
		} {
			s.Kind, s.Side, s.CreatedBy = store.SourceFile, tallystick.SideRelying, "ada"
			_, err := f.DB.AddSource(f.Context(), s)
			must(f.T, err)
		}
		books, err := f.Books(f.Context(), viewer)
		must(f.T, err)
		silent := map[string]bool{}
		for _, b := range books {
			silent[b.Source] = b.Silent
		}
		want := map[string]bool{"entra": false, "loose": false, "quiet": true, "sync": false, "young": false}
		if d := cmp.Diff(want, silent); d != "" {
			f.Error(d)
		}
		sync := books[3]
		if sync.Source != "sync" || sync.Behind != 3*time.Minute || sync.Records != 2*perHour+1 || sync.Reading != nil {
			f.Errorf("%+v", sync)
		}
		f.Now = func() time.Time { return noon.Add(3 * time.Hour) }
		if books, err = f.Books(f.Context(), viewer); err != nil || !books[0].Silent {
			f.Errorf("entra says nothing for three hours: %+v, %v", books[0], err)
		}
	})
}

func TestMap(t *testing.T) {
	onBoth(t, func(f *fixture) {
		// Whose clock is wrong hides nobody.
		_, err := f.Ledger.Append(f.Context(), ledger.Batch{Uses: []tallystick.Use{
			use("astray", tallystick.SideRelying, time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC), "late", "later"),
		}})
		must(f.T, err)
		m, err := f.Map(f.Context(), viewer)
		must(f.T, err)
		want := []usage.Party{
			{Name: graph, Credentials: 1, Holder: 2*perHour + 1, Relying: 2*perHour + 1, Foreign: 1, Holders: []string{"sync"}, Relyings: []string{"entra"}},
			{Name: exchange, Credentials: 1, Relying: 2, Foreign: 2, Holders: []string{}, Relyings: []string{"entra"}},
		}
		if d := cmp.Diff(want, m.Parties); d != "" || len(m.Books) != 3 || m.More != 0 {
			f.Errorf("%d books, %d more: %s", len(m.Books), m.More, d)
		}
	})
}

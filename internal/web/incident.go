// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// incidentPage answers: what did somebody else do with this credential?
type incidentPage struct {
	frame
	usage.Incident
	Name      string
	Mirror    mirror
	Addresses []bar
	Parties   []bar
	Foreign   []usage.Record // what is foreign, the newest first
	Pager     pager
	Made      []usage.Record // what the holder did at that time
	MadeURL   string         // all of it
	CSV       string
	Silent    []usage.Book // of holders
	RecallURL string       // leads to what a recall would do, known to be needed since the first foreign use; "" without
}

// heldRows is how many of the holder's records stand beside an incident.
const heldRows = 20

// Incident is the foreign uses of one credential that belong together.
func (s *Site) Incident(w http.ResponseWriter, r *http.Request) {
	incident, err := s.incidentOf(r)
	if err == nil {
		p := &incidentPage{Incident: *incident, Name: usedName(incident.Credential)}
		p.frame = frame{Title: "Foreign uses of " + clip(60, p.Name), Section: "uses"}
		if err = s.fillIncident(r, p); err == nil {
			s.render(w, r, http.StatusOK, "incident", p)
			return
		}
	}
	s.Error(w, r, err)
}

// incidentOf returns the incident of the path.
func (s *Site) incidentOf(r *http.Request) (*usage.Incident, error) {
	id, err := numberOf(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return s.Usage.Incident(r.Context(), actorOf(r), id)
}

func (s *Site) fillIncident(r *http.Request, p *incidentPage) error {
	ctx, actor := r.Context(), actorOf(r)
	f := usage.Filter{Credential: credentialOf(p.Credential)}
	if f.Credential == "" {
		return nil // or all of them would be shown
	}
	if s.Recalls != nil {
		q := url.Values{"kind": {tallystick.BurntCredential}, "value": {f.Credential}, "plan": {"true"}, "since": {p.First.UTC().Format(formTime)}, "why": {fmt.Sprintf("Foreign uses, incident %d", p.ID)}}
		p.RecallURL = "/recalls/new?" + q.Encode()
	}
	f.From, f.To = around(p.First, p.Last)
	chart, err := s.Usage.Chart(ctx, actor, f)
	if err != nil {
		return err
	}
	p.Mirror = mirrorOf(s.Now(), chart, useURL("credential", f.Credential, "list", "true"))
	foreign, count, err := s.Usage.Records(ctx, actor, usage.Filter{Incident: p.ID}, store.PageRequest{After: r.URL.Query().Get("after"), Limit: useRows})
	if err != nil {
		return err
	}
	p.Foreign, p.Pager = foreign.Items, pagerOf(r, "after", count, foreign.Next)
	f.Side = tallystick.SideHolder
	made, _, err := s.Usage.Records(ctx, actor, f, store.PageRequest{Limit: heldRows})
	if err != nil {
		return err
	}
	p.Made = made.Items
	p.MadeURL = useURL("credential", f.Credential, "side", "holder", "from", f.From.Format(time.RFC3339), "to", f.To.Format(time.RFC3339))
	p.CSV = fmt.Sprintf("/incidents/%d/relying-parties.csv", p.ID)
	same := func(s string) string { return s }
	narrowed := func(parameter string) func(string) string {
		return func(name string) string {
			return useURL("credential", f.Credential, "verdict", "foreign", "from", f.From.Format(time.RFC3339), "to", f.To.Format(time.RFC3339), parameter, name)
		}
	}
	p.Addresses = barsOf(countsOf(p.TopAddresses), 10, same, narrowed("address"))
	p.Parties = barsOf(countsOf(p.TopParties), 10, same, narrowed("relying_party"))
	silent, err := s.silentBooks(ctx, actor)
	p.Silent = slices.DeleteFunc(silent, func(b usage.Book) bool { return b.Side != tallystick.SideHolder })
	return err
}

// around returns the time around an incident that shows what was usual: a
// quarter of its length before and after, at least half an hour.
func around(first, last time.Time) (from, to time.Time) {
	pad := max(last.Sub(first)/4, 30*time.Minute)
	return first.Add(-pad).UTC().Truncate(time.Minute), last.Add(pad).UTC().Truncate(time.Minute).Add(time.Minute)
}

// credentialOf names a credential for a filter.
func credentialOf(c usage.Credential) string {
	if c.Fingerprint != "" || len(c.Names) == 0 {
		return string(c.Fingerprint)
	}
	return c.Names[0]
}

// maxParameter is how long a value may be that a link carries: a page may have
// hundreds of links, and a log whatever it likes in its fields.
const maxParameter = 1000

// useURL returns the address of the uses that a few parameters let through:
// name, value, name, value; "" when one of them is too long for a link.
func useURL(parameters ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(parameters); i += 2 {
		if len(parameters[i+1]) > maxParameter {
			return ""
		}
		q.Set(parameters[i], parameters[i+1])
	}
	return "/uses?" + q.Encode()
}

// countsOf returns counts as the bars take them.
func countsOf(list []usage.Count) []store.Count {
	counts := make([]store.Count, 0, len(list))
	for _, c := range list {
		counts = append(counts, store.Count{Name: c.Name, Count: c.Uses})
	}
	return counts
}

// silentBooks returns the books that should have been heard.
func (s *Site) silentBooks(ctx context.Context, actor gate.Actor) ([]usage.Book, error) {
	books, err := s.Usage.Books(ctx, actor)
	return slices.DeleteFunc(books, func(b usage.Book) bool { return !b.Silent }), err
}

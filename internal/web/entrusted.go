// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// entrustedPage answers: whose secrets do we hold, and what could read them?
type entrustedPage struct {
	frame
	Sums    store.EntrustedSums
	Values  url.Values
	Chips   []chip
	Offers  []offer
	Columns []column // customer, age, due
	Rows    []entrustedRow
	Pager   pager
	Kinds   []string
	Hosts   []string // that can or could use a wrapping key
	Keys    []vault.KeyStrength
	MayAsk  bool // what could be read
}

// Value returns what a parameter of the filter was given as.
func (p *entrustedPage) Value(name string) string { return p.Values.Get(name) }

// An entrustedRow is a secret in the list.
type entrustedRow struct {
	store.EntrustedSecret
	Path      string
	Now       bool // it is to be replaced
	FilterURL string
}

// entrustedFields are the parameters of vault.ParseFilter.
var entrustedFields = []field{
	{"q", "Text"}, {"customer", "Customer"}, {"system", "System"}, {"account", "Account"}, {"kind", "Kind"}, {"holder", "Holder"}, {"wrapping_key", "Wrapping key"},
	{"due", "To be replaced"}, {"stale", "Stale"}, {"destroyed", "Destroyed"},
}

// ListEntrusted is the list of what customers have entrusted, with the two questions.
func (s *Site) ListEntrusted(w http.ResponseWriter, r *http.Request) {
	p := &entrustedPage{frame: frame{Title: "Entrusted", Section: "entrusted"}, Values: r.URL.Query(), Chips: chipsOf(r, entrustedFields), Kinds: vault.Kinds()}
	if err := s.fillEntrusted(r, p); err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "entrusted", p)
}

func (s *Site) fillEntrusted(r *http.Request, p *entrustedPage) error {
	ctx, actor, at := r.Context(), actorOf(r), pageRequest(r.URL.Query())
	filter, err := s.Vault.ParseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	if at.Sort == "" {
		at.Sort = "customer"
	}
	list, count, err := s.Vault.List(ctx, actor, filter, at)
	if err != nil {
		return err
	}
	for _, one := range list.Items {
		p.Rows = append(p.Rows, s.entrustedRow(one))
	}
	p.Pager = pagerOf(r, "after", count, list.Next)
	p.Columns = []column{columnOf(r, at, "Customer", "customer", false), columnOf(r, at, "Since", "since", false), columnOf(r, at, "Replace", "due", false)}
	p.Offers = []offer{
		{"All", "/entrusted", len(p.Chips) == 0}, {"To be replaced", "/entrusted?due=true&sort=due", p.Value("due") == "true"},
		{"Oldest", "/entrusted?sort=since", len(p.Chips) == 0 && at.Sort == "since"}, {"Stale", "/entrusted?stale=true", filter.Stale}, {"Destroyed", "/entrusted?destroyed=true", filter.Destroyed},
	}
	if p.Sums, err = s.Vault.Sums(ctx, actor); err != nil {
		return err
	}
	return s.fillLineage(r, p)
}

func (s *Site) entrustedRow(one store.EntrustedSecret) entrustedRow {
	return entrustedRow{
		EntrustedSecret: one, Path: "/entrusted/" + one.ID, Now: !one.Due.IsZero() && !one.Due.After(s.Now()),
		FilterURL: "/entrusted?" + url.Values{"customer": {one.Customer}}.Encode(),
	}
}

// fillLineage adds the wrapping keys, and the hosts that the questions can be asked of.
func (s *Site) fillLineage(r *http.Request, p *entrustedPage) error {
	var err error
	if p.Keys, err = s.Vault.KeyStrengths(r.Context(), actorOf(r)); err != nil {
		return err
	}
	p.MayAsk = gate.May(actorOf(r), gate.ReadLineage)
	p.Hosts, err = s.readingHosts(r)
	return err
}

// readingHosts returns the hosts that can or could use a wrapping key.
func (s *Site) readingHosts(r *http.Request) (hosts []string, err error) {
	readers, err := s.Vault.Hosts(r.Context(), actorOf(r))
	for _, one := range readers {
		if len(hosts) == 0 || hosts[len(hosts)-1] != one.Host { // they come sorted
			hosts = append(hosts, one.Host)
		}
	}
	return hosts, err
}

// RotateEntrusted says that secrets are to be replaced: one, or all that a question names.
func (s *Site) RotateEntrusted(w http.ResponseWriter, r *http.Request) {
	reason := r.PostFormValue("reason")
	var err error
	if id := r.PostFormValue("id"); id != "" {
		_, err = s.Vault.Mark(r.Context(), actorOf(r), reason, id)
	} else {
		var q vault.Question
		if q, err = vault.ParseQuestion(url.Values{"host": {r.PostFormValue("host")}, "key": {r.PostFormValue("key")}, "from": {r.PostFormValue("from")}, "to": {r.PostFormValue("to")}}); err == nil {
			_, err = s.Vault.MarkReadable(r.Context(), actorOf(r), q, reason)
		}
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, localPath(r, "/entrusted?due=true&sort=due"), "to-replace")
}

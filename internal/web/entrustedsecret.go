// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// entrustedSecretPage answers: where could this secret be read, and who was given it?
type entrustedSecretPage struct {
	frame
	Row      entrustedRow
	Versions []vault.Version
	Handouts []store.Handout
	Back     string
	Recall   string // leads to the plan of a recall of it
}

// Entrusted is one secret, without its value.
func (s *Site) Entrusted(w http.ResponseWriter, r *http.Request) {
	l, err := s.Vault.Lineage(r.Context(), actorOf(r), r.PathValue("id"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &entrustedSecretPage{
		frame: frame{Title: clip(60, l.Secret.Account), Section: "entrusted"}, Row: s.entrustedRow(l.Secret), Versions: l.Versions, Handouts: l.Handouts, Back: here(r),
	}
	if s.Recalls != nil {
		p.Recall = rotateURL(tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: l.Secret.ID})
	}
	s.render(w, r, http.StatusOK, "entrustedsecret", p)
}

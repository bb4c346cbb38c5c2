// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// IncidentParties is the relying parties of an incident's credential as a file,
// those with foreign uses first: whom to tell, and where to replace it.
func (s *Site) IncidentParties(w http.ResponseWriter, r *http.Request) {
	incident, err := s.incidentOf(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.sendParties(w, r, credentialOf(incident.Credential), fmt.Sprintf("incident-%d", incident.ID))
}

// CredentialParties is the same of a credential.
func (s *Site) CredentialParties(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	s.sendParties(w, r, id, "credential-"+fileWord(id))
}

// fileWord keeps of a name what can stand in that of a file.
func fileWord(text string) string {
	var word []byte
	for i := range len(text) {
		if c := text[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'z' {
			word = append(word, c)
		}
	}
	return string(word[:min(12, len(word))])
}

// partyPage is how many relying parties are asked for at once.
const partyPage = 1000

// sendParties sends the relying parties of a credential as CSV.
func (s *Site) sendParties(w http.ResponseWriter, r *http.Request, credential, name string) {
	list, err := s.partiesOf(r, credential, name)
	var out bytes.Buffer
	if err == nil {
		err = export.WriteParties(&out, list)
	}
	if err != nil {
		s.Error(w, r, err)
		return
	}
	setHeaders(w.Header())
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`-relying-parties.csv"`)
	_, _ = w.Write(out.Bytes())
}

func (s *Site) partiesOf(r *http.Request, credential, name string) ([]usage.Connection, error) {
	ctx, actor := r.Context(), actorOf(r)
	if err := s.Gate.Check(ctx, actor, gate.Export, "relying parties of "+name); err != nil {
		return nil, err
	}
	var list []usage.Connection
	for at := (store.PageRequest{Limit: partyPage}); ; {
		page, _, err := s.Usage.Connections(ctx, actor, credential, "", at)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Items...)
		if at.After = page.Next; at.After == "" {
			break
		}
	}
	slices.SortStableFunc(list, loudestFirst)
	return list, nil
}

// loudestFirst orders connections as the page does: those with the most foreign
// uses first, then the last used. The pages are asked for in an order in which
// uses that come meanwhile move nothing.
func loudestFirst(a, b usage.Connection) int {
	return cmp.Or(cmp.Compare(b.Foreign, a.Foreign), b.Last.Compare(a.Last))
}

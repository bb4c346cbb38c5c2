// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick/internal/export"
	"github.com/tallystick/tallystick/internal/inventory"
)

// exportTime is how long an export may take; a million credentials take a minute.
const exportTime = 30 * time.Minute

// export sends the credentials that a filter lets through as a file.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains(s.exportParameters, name) {
			s.refuse(w, r, unknownParameter(name, s.exportParameters))
			return
		}
	}
	filter, err := inventory.ParseCredentialFilter(q, s.Findings.RuleNames())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	format, err := export.ParseFormat(q.Get("format"))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	e := export.Exporter{DB: s.DB, Gate: s.Gate, Now: s.Now}
	source, err := e.Open(r.Context(), actorOf(r.Context()), filter)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	// Fails only for connections that know no deadline.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportTime))
	w.Header().Set("Content-Type", format.ContentType())
	w.Header().Set("Content-Disposition", `attachment; filename="tallystick-credentials.`+format.Extension()+`"`)
	if err := source.Write(r.Context(), w, format); err != nil {
		s.failed(r, err)
		panic(http.ErrAbortHandler) // half a file must not look like a whole one
	}
}

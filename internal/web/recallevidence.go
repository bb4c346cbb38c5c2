// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/evidence"
	"github.com/tallystick/tallystick/internal/gate"
)

// recallEvidencePage answers: can I prove it to somebody who does not trust me?
type recallEvidencePage struct {
	frame
	Recall   tallystick.Recall
	Path     string
	Sentence string
	Over     bool
	Key      string
	Command  string
	File     string
	Columns  []phaseColumn
}

// RecallEvidence says what the evidence of a recall is, and how it is verified.
func (s *Site) RecallEvidence(w http.ResponseWriter, r *http.Request) {
	status, err := s.recallStatus(r)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	one := status.Recall
	war := &recallPage{Recall: one, Path: recallPath(one.Name), Over: one.State.Over()}
	war.count(status)
	p := &recallEvidencePage{
		frame: frame{Title: "Evidence of " + one.Name, Section: "recalls"}, Recall: one, Path: war.Path, Sentence: war.Sentence, Over: war.Over, Columns: war.Columns,
		Key: s.Audit.VerifierKey(), File: EvidenceFile(one.Name),
	}
	p.Command = "tally evidence verify " + p.File + " --key " + p.Key
	s.render(w, r, http.StatusOK, "recallevidence", p)
}

// EvidenceFile is what the file of a recall is called.
func EvidenceFile(recall string) string { return recall + "-evidence.zip" }

// RecallEvidenceFile is the file.
func (s *Site) RecallEvidenceFile(w http.ResponseWriter, r *http.Request) {
	one, err := s.recallOf(r)
	if err == nil {
		e := evidence.Exporter{DB: s.Recalls.DB, Gate: s.Gate, Log: s.Audit, Uses: s.Usage, Now: s.Now}
		err = SendEvidence(w, r, e, actorOf(r), one)
	}
	if err != nil {
		s.Error(w, r, err)
	}
}

// evidenceTime is how long a client may take for a file.
const evidenceTime = 10 * time.Minute

// SendEvidence answers with the evidence of a recall. It returns an error when nothing
// has been sent; when sending fails half-way the connection is cut, so that nobody takes
// half a file for a whole one.
func SendEvidence(w http.ResponseWriter, r *http.Request, e evidence.Exporter, who gate.Actor, of tallystick.Recall) error {
	out := &lateHeader{ResponseWriter: w, file: EvidenceFile(of.Name)}
	if _, err := e.Export(r.Context(), who, of.ID, out); err != nil {
		if out.sent {
			panic(http.ErrAbortHandler)
		}
		return err
	}
	return nil
}

// A lateHeader says what is sent when the first of it is.
type lateHeader struct {
	http.ResponseWriter
	file string
	sent bool
}

func (l *lateHeader) Write(b []byte) (int, error) {
	if !l.sent {
		l.sent = true
		setHeaders(l.Header())
		l.Header().Set("Content-Type", "application/zip")
		l.Header().Set("Content-Disposition", `attachment; filename="`+l.file+`"`)
		// Writers that know no deadlines, as in tests, do without.
		_ = http.NewResponseController(l.ResponseWriter).SetWriteDeadline(time.Now().Add(evidenceTime))
	}
	return l.ResponseWriter.Write(b)
}

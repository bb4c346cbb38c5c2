// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"time"
)

// A brokeRow is somebody who would have been left without a credential.
type brokeRow struct {
	Where, URL string
	Uses       int64
	Last       time.Time
	Why        string // the books could not be asked
}

// brokenMost is of how many connections a page asks the books who broke.
const brokenMost = 500

// fillBroken asks who broke in a rehearsal that is over.
func (s *Site) fillBroken(r *http.Request, p *recallPage) error {
	if p.Recall.Rehearse == 0 || !p.Over || p.Recall.Started.IsZero() || p.All > brokenMost {
		return nil
	}
	list, err := s.Recalls.Broken(r.Context(), actorOf(r), p.Recall.ID)
	if err != nil {
		return err
	}
	p.Rehearsed = true
	known := int64(0)
	for _, b := range list {
		p.Broken = append(p.Broken, brokeRow{Where: whereOfTarget(b.Target), URL: targetPath(p.Recall, b.Target.ID), Uses: b.Answer.Uses, Last: b.Answer.Last, Why: b.Error})
		if b.Error == "" {
			known++
		}
	}
	if known > 0 {
		p.Sentence += " " + number(known) + " would have been left without one."
	}
	return nil
}

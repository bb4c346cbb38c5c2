// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// A Meanwhile is what was done with credentials while they were replaced.
type Meanwhile struct {
	// Known says that a book has ever told of one of the old ones.
	Known bool `json:"known"`
	// Foreign counts the foreign uses of the old ones, up to store.CountCap; Latest are the last
	// of them.
	Foreign int64    `json:"foreign"`
	Latest  []Record `json:"latest,omitempty"`
	// Made counts the uses that holders recorded, and Failed those of them that the other
	// side refused. Our own tries are neither.
	Made   int64 `json:"made"`
	Failed int64 `json:"failed"`
	// Cut says that there are more uses than were counted.
	Cut bool `json:"cut,omitempty"`
}

// Bounds of what Meanwhile reads.
const (
	latestUses   = 10
	meanwhileMax = 100_000
)

// Our own tries of credentials are recorded so (package doors).
const (
	ownOperation = "probe"
	ownDetail    = "Tallystick, "
)

// errEnough ends a scan that has read enough.
var errEnough = errors.New("more uses than are counted")

// Meanwhile answers from one time on, for the old credentials and those that take their
// place, by any of their names. Like a list it opens no credential, so that a page that is
// read again and again does not fill the audit log.
func (u *Usage) Meanwhile(ctx context.Context, actor gate.Actor, old, next []string, from time.Time) (Meanwhile, error) {
	var m Meanwhile
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "meanwhile"); err != nil {
		return m, err
	}
	used, names, err := u.usedOf(ctx, old)
	if err != nil {
		return m, err
	}
	m.Known = len(used) > 0
	filter := store.VerdictFilter{Used: used, Verdict: tallystick.VerdictForeign, From: from}
	rows, err := u.DB.Verdicts(ctx, filter, store.PageRequest{Desc: true, Limit: latestUses})
	if err != nil {
		return m, err
	}
	if m.Latest, err = u.recordsOf(ctx, rows.Items); err != nil {
		return m, err
	}
	if m.Foreign, err = u.DB.CountVerdicts(ctx, filter); err != nil {
		return m, err
	}
	return m, u.countMade(ctx, &m, append(names, next...), from)
}

// usedOf returns what the uses of credentials are kept under, and all names that they have there.
func (u *Usage) usedOf(ctx context.Context, credentials []string) (used []int64, names []string, err error) {
	used = []int64{} // nil would be of everything
	for _, name := range credentials {
		names = append(names, name)
		rows, err := u.DB.UsedUnder(ctx, name)
		if fingerprint, is := strings.CutPrefix(name, "cert-sha256:"); is && err == nil && len(rows) == 0 {
			rows, err = u.DB.UsedOf(ctx, tallystick.Fingerprint(fingerprint))
		}
		if err != nil {
			return nil, nil, err
		}
		for _, row := range rows {
			used, names = append(used, row.ID), append(names, row.Names...)
		}
	}
	return used, names, nil
}

// countMade counts what holders recorded.
func (u *Usage) countMade(ctx context.Context, m *Meanwhile, names []string, from time.Time) error {
	if len(names) == 0 {
		return nil
	}
	read := 0
	q := ledger.Query{Names: names, From: from, To: u.Now().Add(time.Hour), Side: tallystick.SideHolder}
	err := u.Ledger.Scan(ctx, q, func(use *tallystick.Use) error {
		if read++; read > meanwhileMax {
			return errEnough
		}
		if use.Operation == ownOperation && strings.HasPrefix(use.Detail, ownDetail) {
			return nil
		}
		n := int64(max(use.Count, 1))
		m.Made += n
		if use.Outcome == tallystick.OutcomeRefused || use.Outcome == tallystick.OutcomeAttempt {
			m.Failed += n
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		m.Cut, err = true, nil
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/reconcile"
	"github.com/tallystick/tallystick/internal/tally"
)

// A verdictLine is a line of "tally reconcile --json": one use that is not matched.
type verdictLine struct {
	Verdict      tallystick.Verdict `json:"verdict"`
	ID           string             `json:"id"`
	Time         time.Time          `json:"time"`
	Credential   []string           `json:"credential"`
	RelyingParty string             `json:"relying_party"`
	Address      string             `json:"address"`
	IDs          map[string]string  `json:"ids"`
	Reason       string             `json:"reason"`

	Count   int64              `json:"count,omitempty"` // where the line stands for more than one use
	Level   tallystick.Level   `json:"level"`
	Outcome tallystick.Outcome `json:"outcome"`
	Source  string             `json:"source"`
	File    string             `json:"file"`
}

// A reconcileSummary adds to the counts of uses in how many places a holder's
// book does not follow from itself.
type reconcileSummary struct {
	tally.Summary
	Broken int64 `json:"broken"`
}

// A summaryLine is the last line.
type summaryLine struct {
	Summary reconcileSummary `json:"summary"`
}

// printVerdicts writes the lines.
func printVerdicts(ctx context.Context, out io.Writer, files *reconcile.Files) error {
	encoder := json.NewEncoder(escaping{out})
	encoder.SetEscapeHTML(false)
	err := files.Each(ctx, func(v reconcile.Verdict) error { return encoder.Encode(verdictLineOf(v)) })
	if err != nil {
		return err
	}
	return encoder.Encode(summaryLine{reconcileSummary{files.Result.Summary, files.BrokenCount}})
}

// An escaping writer writes JSON, and as \u escapes what could steer the terminal
// of who looks at it: package json leaves C1 controls and the marks that turn the
// writing round as they are, and they stand in no place but strings.
type escaping struct{ out io.Writer }

func (e escaping) Write(text []byte) (int, error) {
	safe := make([]byte, 0, len(text))
	for _, r := range string(text) {
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	if _, err := e.out.Write(safe); err != nil {
		return 0, err
	}
	return len(text), nil
}

func verdictLineOf(v reconcile.Verdict) verdictLine {
	line := verdictLine{
		Verdict: v.Verdict, ID: useName(v.Use), Time: v.Use.Time, Credential: v.Use.Credential, RelyingParty: v.Use.RelyingParty,
		Address: v.Use.Address, IDs: v.Use.IDs.Map(), Reason: v.Reason.String(),
		Level: v.Use.Level, Outcome: v.Use.Outcome, Source: v.Use.Source, File: v.File,
	}
	if line.Credential == nil {
		line.Credential = []string{}
	}
	if v.Count > 1 {
		line.Count = v.Count
	}
	return line
}

// useName is the own id of a record, or what stands in for it.
func useName(u *tallystick.Use) string {
	number := ""
	if u.Seq > 0 {
		number = fmt.Sprintf("%s#%d", u.Source, u.Seq)
	}
	return cmp.Or(u.ID, u.IDs.Request, number, u.IDs.Queue, u.IDs.Session)
}

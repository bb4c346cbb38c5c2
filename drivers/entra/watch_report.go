// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

const (
	// reportsKept is for how long reports are kept, with P1 or P2 ("Microsoft Entra data
	// retention").
	reportsKept = 30 * 24 * time.Hour
	// startBack is up to how long before now a first round reads at once; what is older
	// follows as there is time.
	startBack = time.Hour
	// lateSeen is for how long it is remembered that a record was late.
	lateSeen = 24 * time.Hour
	// auditRounds is how many rounds of sign-ins there are to one of audits: both have the
	// same requests to share.
	auditRounds = 4
	// backTurn is each which request goes to what lies back while there is more of the newest.
	backTurn = 5
	// pageSize is the most that a page has ("List signIns").
	pageSize = "1000"
	// maxBatch bounds what is handed over at once, in bytes.
	maxBatch = 1 << 20
)

// ages are how old a time is each time that it is looked at again.
var ages = [...]time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour}

// A reportLog is a log that Microsoft Graph lists by time, the newest first.
type reportLog struct {
	name, format string
	path         string
	time         string   // the member that says when
	filter       string   // beside the time
	only         []string // client ids; none is all. Graph compares with one, and we with several
	permission   string
	every        time.Duration // in rounds
	nameless     bool          // its records do not say of which tenant they are
}

// reportOf describes a log. Version 1.0 of sign-ins lacks the fields that name the credential
// and the token ("signIn resource type", beta), and of audits those that name the token.
func reportOf(log string, only []string) reportLog {
	if log == logAudits {
		return reportLog{
			name: log, format: "entra-audit", path: "/beta/auditLogs/directoryAudits", time: "activityDateTime",
			permission: "AuditLog.Read.All and Directory.Read.All of Microsoft Graph", every: auditRounds, nameless: true,
		}
	}
	r := reportLog{
		name: log, format: "entra-signin", path: "/beta/auditLogs/signIns", time: "createdDateTime", every: 1,
		filter:     "signInEventTypes/any(t: t eq 'servicePrincipal') and ",
		permission: "AuditLog.Read.All and Directory.Read.All of Microsoft Graph",
	}
	if len(only) == 1 {
		r.filter += "appId eq '" + only[0] + "' and "
	} else {
		r.only = only
	}
	return r
}

// A progress is how far a report is read.
type progress struct {
	standing
	// To is up to when all was read that was readable then.
	To time.Time `json:"to,omitzero"`
	// Asked is when the newest was asked for last.
	Asked time.Time `json:"asked,omitzero"`
	// Lead is what is being read of the newest, History of what is from before the first
	// round, and Back of what is looked at again.
	Lead    *pass                `json:"lead,omitempty"`
	History *pass                `json:"history,omitempty"`
	Back    *pass                `json:"back,omitempty"`
	Swept   [len(ages)]time.Time `json:"swept,omitzero"` // up to when that was done, for each age
	// Late is how late a record was that was found in this way, and Noticed when.
	Late    time.Duration `json:"late,omitempty"`
	Noticed time.Time     `json:"noticed,omitzero"`
	Turn    int           `json:"turn,omitempty"`
}

// A pass is a stretch of time that is being read, from its end: what is left of it.
type pass struct {
	From time.Time `json:"from"`
	Till time.Time `json:"till"`
	End  time.Time `json:"end"`             // where it began
	Link string    `json:"link,omitempty"`  // to the next page of the window that ends at Till
	Low  time.Time `json:"low,omitzero"`    // where that window begins
	Age  int       `json:"age,omitempty"`   // of what is looked at again: index into ages
	Seen time.Time `json:"seen,omitzero"`   // the oldest record of that window so far
	Odd  bool      `json:"odd,omitempty"`   // its records were not in order
	Wide int64     `json:"wide,omitempty"`  // seconds that a window has; 0 is all that is left
	Page int       `json:"pages,omitempty"` // of the window, that were read
}

// closed returns up to when nothing more will come.
func (p *progress) closed(late time.Duration) time.Time {
	if p.History != nil || p.To.IsZero() {
		return time.Time{}
	}
	return p.To.Add(-max(late, p.Late))
}

// report reads what is due of a report, as far as requests are left.
func (w *watching) report(ctx context.Context, r reportLog, p *progress) error {
	for {
		now := w.now()
		one := p.next(now, w.Entra, r)
		if one == nil {
			p.Next = p.Asked.Add(w.pace(r))
			return nil
		}
		ok, free := w.at.ask(now)
		if !ok {
			p.Next = free
			return nil
		}
		p.Turn++
		if err := w.page(ctx, r, p, one); err != nil {
			return err
		}
		if !one.From.Before(one.Till) {
			p.done(one)
		}
	}
}

// next returns what is to be read next; nil is nothing for now.
func (p *progress) next(now time.Time, e *Entra, r reportLog) *pass {
	p.start(now, e, r)
	behind := p.History
	if behind == nil {
		behind = p.Back
	}
	if p.Lead != nil && (behind == nil || p.Turn%backTurn != backTurn-1) {
		return p.Lead
	}
	return behind
}

// start begins what is due.
func (p *progress) start(now time.Time, e *Entra, r reportLog) {
	// The second that has begun is read as well, and again in the next round.
	end := now.Truncate(time.Second).Add(time.Second)
	if p.To.IsZero() && p.Lead == nil {
		since := now.Add(-e.Since).Truncate(time.Second)
		from := now.Add(-max(startBack, e.Late)).Truncate(time.Second)
		if since.Before(from) {
			p.History = newPass(since, from)
		}
		p.Lead, p.Asked = newPass(later(from, since), end), now
		for i, age := range ages {
			p.Swept[i] = now.Add(-age).Truncate(time.Second)
		}
		return
	}
	if p.Lead == nil && !now.Before(p.Asked.Add(e.pace(r))) {
		from := later(p.To.Add(-e.Late), now.Add(-reportsKept)).Truncate(time.Second)
		p.Lead, p.Asked = newPass(from, end), now
	}
	if now.Sub(p.Noticed) > lateSeen {
		p.Late = 0
	}
	if p.Back != nil || p.History != nil || p.Lead != nil {
		return
	}
	for i, age := range ages {
		to := now.Add(-age).Truncate(time.Second)
		if to.Sub(p.Swept[i]) >= age/2 {
			p.Back = newPass(p.Swept[i], to)
			p.Back.Age = i
			return
		}
	}
}

func newPass(from, end time.Time) *pass {
	return &pass{From: from.UTC(), Till: end.UTC(), End: end.UTC()}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// done notes that a pass is read to its beginning.
func (p *progress) done(one *pass) {
	switch one {
	case p.Lead:
		p.Lead, p.To = nil, one.End.Add(-time.Second)
	case p.History:
		p.History = nil
	default:
		p.Back, p.Swept[one.Age] = nil, one.End
	}
}

// page reads one page of a pass.
func (w *watching) page(ctx context.Context, r reportLog, p *progress, one *pass) error {
	link := one.Link
	if link == "" {
		one.Low, one.Seen, one.Odd, one.Page = one.From, one.Till, false, 0
		if one.Wide > 0 {
			one.Low = later(one.From, one.Till.Add(-time.Duration(one.Wide)*time.Second))
		}
		filter := fmt.Sprintf("%s%s ge %s and %s lt %s", r.filter, r.time, one.Low.Format(time.RFC3339), r.time, one.Till.Format(time.RFC3339))
		link = w.client.url(r.path, url.Values{"$filter": {filter}, "$top": {pageSize}}).String()
	}
	b := &batch{watching: w, log: r, pass: one}
	read, err := w.client.page(ctx, link, b.add)
	if said, ok := errors.AsType[*apiError](err); ok && one.Link != "" && (said.Status == http.StatusBadRequest || said.Status == http.StatusGone) {
		one.stale() // links do not stay good for ever
		return nil
	}
	if err != nil {
		return err
	}
	one.Page++
	if one.Link = read.Next; one.Link == "" {
		one.whole()
	}
	if err := b.give(); err != nil {
		return err
	}
	if one == p.Back && b.fresh > 0 {
		p.Late, p.Noticed = max(p.Late, w.now().Sub(one.Low)), w.now()
	}
	return nil
}

// whole notes that a window is read to its beginning. Windows are as wide as a few pages.
func (p *pass) whole() {
	width := int64(p.Till.Sub(p.Low) / time.Second)
	switch {
	case p.Page > 2*backTurn:
		p.Wide = max(1, width/2)
	case p.Page <= 1 && p.Wide > 0:
		p.Wide *= 4
	}
	p.Till = p.Low
}

// stale gives up a link that leads nowhere any more. What came before it is read; where that
// was not in order, nobody knows what that is, and it is read again in shorter windows.
func (p *pass) stale() {
	p.Link = ""
	if cut := p.Seen.Truncate(time.Second).Add(time.Second); !p.Odd && cut.Before(p.Till) {
		p.Till = cut
		return
	}
	p.Wide = max(1, int64(p.Till.Sub(p.Low)/(4*time.Second)))
}

// A batch gathers records of a page.
type batch struct {
	*watching
	log     reportLog
	pass    *pass
	records [][]byte
	size    int
	fresh   int
}

// add takes a record. Those before it are handed over when they are many.
func (b *batch) add(record json.RawMessage) error {
	if len(b.records) > 0 && b.size+len(record) > maxBatch {
		if err := b.give(); err != nil {
			return err
		}
	}
	at, err := time.Parse(time.RFC3339Nano, textIn(record, b.log.time))
	if err != nil || at.After(b.pass.Seen) { // whoever reads a wrong one says what is wrong with it
		b.pass.Odd = true
	} else {
		b.pass.Seen = at
	}
	if len(b.log.only) > 0 && !slices.Contains(b.log.only, strings.ToLower(textIn(record, "appId"))) {
		return nil
	}
	if b.log.nameless && len(record) > len("{}") && record[0] == '{' {
		record = append([]byte(`{"tenantId":"`+b.Tenant+`",`), record[1:]...)
	}
	b.records, b.size = append(b.records, record), b.size+len(record)
	return nil
}

// give hands over what there is.
func (b *batch) give() error {
	if len(b.records) == 0 {
		return nil
	}
	fresh, err := b.taken(driver.WatchBatch{Log: b.log.name, Format: b.log.format, Records: b.records})
	b.fresh += fresh
	b.records, b.size = b.records[:0], 0
	return err
}

// textIn returns a member of a record that is a text without escapes, or "". Members of what is
// inside of it are not meant. It looks no further, since there are a million records.
func textIn(record []byte, member string) string {
	depth, named := 0, false
	for i := 0; i < len(record); i++ {
		switch record[i] {
		case '{', '[':
			depth, named = depth+1, false
		case '}', ']':
			depth--
		case ',':
			named = false
		case '"':
			begin := i + 1
			for i++; i < len(record) && record[i] != '"'; i++ {
				if record[i] == '\\' {
					i++
				}
			}
			if i >= len(record) {
				return ""
			}
			if named {
				return string(record[begin:i])
			}
			named = depth == 1 && string(record[begin:i]) == member
		}
	}
	return ""
}

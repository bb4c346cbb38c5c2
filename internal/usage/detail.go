// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/tally"
)

const (
	// nearSpan is how far before and behind a use the other side is looked at.
	nearSpan = 10 * time.Minute
	// mostNear is how many uses of the other side are shown.
	mostNear = 10
	// mostRaw bounds what is shown of a log, in bytes.
	mostRaw = 64 << 10
)

// Record returns one record, named by its key or by tally.Key when it is not
// matched, with what the other side has of that time and what the source wrote.
func (u *Usage) Record(ctx context.Context, actor gate.Actor, key string) (*Detail, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, key); err != nil {
		return nil, err
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	s, r, err := u.find(ctx, k)
	if err != nil {
		return nil, err
	}
	if err := u.Gate.Check(ctx, actor, gate.ReadCredential, cmp.Or(string(s.credential.Fingerprint), key)); err != nil {
		return nil, err
	}
	d := &Detail{Record: r, Near: []Record{}}
	if err := u.findOther(ctx, d, s); err != nil {
		return nil, err
	}
	if u.Raw == nil || !gate.May(actor, gate.ReadRaw) {
		return d, nil
	}
	if err := u.Gate.Check(ctx, actor, gate.ReadRaw, key); err != nil {
		return nil, err
	}
	d.Raw, err = u.rawOf(ctx, &r.Use)
	return d, err
}

// find looks a record up: in what is said, else in the ledger.
func (u *Usage) find(ctx context.Context, k recordKey) (*subject, Record, error) {
	said, err := u.DB.VerdictsOn(ctx, []string{k.record})
	if err != nil {
		return nil, Record{}, err
	}
	v, ok := said[k.record]
	if ok {
		k.used = v.Used
	}
	gone := problem.With(fmt.Errorf("record %s: %w", k.record, tallystick.ErrNotFound), "it may have expired; or it is matched by now, and stands in the list of its credential")
	if k.used == 0 {
		return nil, Record{}, gone
	}
	credentials, err := u.credentials(ctx, []int64{k.used})
	if err != nil {
		return nil, Record{}, err
	}
	c := credentials[k.used]
	s := &subject{credential: c, used: []int64{k.used}, names: c.Names}
	if ok {
		return s, recordOf(&v, c), nil
	}
	at := time.UnixMicro(k.at).UTC()
	list, err := u.scanNamed(ctx, s, ledger.Query{From: at, To: at.Add(time.Microsecond)})
	if err != nil {
		return nil, Record{}, err
	}
	list = slices.DeleteFunc(list, func(use tallystick.Use) bool { return tally.Key(&use) != k.record })
	if len(list) == 0 {
		return nil, Record{}, gone
	}
	records, err := u.judge(s).records(ctx, list[:1])
	if err != nil {
		return nil, Record{}, err
	}
	return s, records[0], nil
}

// scanNamed returns the uses of a credential that a query asks for, the first
// mostInWindow of them.
func (u *Usage) scanNamed(ctx context.Context, s *subject, q ledger.Query) ([]tallystick.Use, error) {
	if len(s.names) == 0 {
		return nil, nil
	}
	q.Names = s.names
	list, err := u.window(ctx, q)
	if errors.Is(err, errTooMany) {
		err = nil
	}
	return list, err
}

// findOther puts in what the other side has of a record's time, the nearest first.
func (u *Usage) findOther(ctx context.Context, d *Detail, s *subject) error {
	other := tallystick.SideHolder
	if d.Use.Side == tallystick.SideHolder {
		other = tallystick.SideRelying
	}
	q := ledger.Query{Side: other, From: d.Use.Time.Add(-nearSpan), To: d.Use.Until.Add(nearSpan)}
	list, err := u.scanNamed(ctx, s, q)
	if err != nil || len(list) == 0 {
		return err
	}
	same := func(use *tallystick.Use) bool { return sameToken(use, &d.Use) || sameParty(use, &d.Use) }
	slices.SortStableFunc(list, func(a, b tallystick.Use) int {
		if x, y := same(&a), same(&b); x != y {
			return map[bool]int{true: -1, false: 1}[x]
		}
		return cmp.Compare(a.Time.Sub(d.Use.Time).Abs(), b.Time.Sub(d.Use.Time).Abs())
	})
	if d.Near, err = u.judge(s).records(ctx, list[:min(len(list), mostNear)]); err != nil {
		return err
	}
	d.Other = counterpart(d)
	return nil
}

// counterpart returns the record that a matched one is matched with: that of the
// same token, or the only matched one of its time and relying party. The tally
// keeps no pairs, so of several none is named.
func counterpart(d *Detail) *Record {
	if d.Verdict != tallystick.VerdictMatched {
		return nil
	}
	var found *Record
	for i := range d.Near {
		r := &d.Near[i]
		if r.Verdict != tallystick.VerdictMatched {
			continue
		}
		if sameToken(&r.Use, &d.Use) {
			return r
		}
		if !sameParty(&r.Use, &d.Use) || r.Use.IDs.UTI != "" && d.Use.IDs.UTI != "" ||
			r.Use.Time.Sub(d.Use.Time).Abs() > tally.DefaultTolerance {
			continue
		}
		if found != nil {
			return nil
		}
		found = r
	}
	return found
}

func sameToken(a, b *tallystick.Use) bool {
	return a.IDs.UTI != "" && tallystick.NormalUTI(a.IDs.UTI) == tallystick.NormalUTI(b.IDs.UTI)
}

// sameParty compares as far as people see: the tally knows more of names.
func sameParty(a, b *tallystick.Use) bool { return strings.EqualFold(a.RelyingParty, b.RelyingParty) }

// Raw finds what sources wrote, as it was received: *archive.Archive.
type Raw interface {
	// Find returns the records of a source, named by its id, that are of a time and
	// that match says yes to. Damage is ErrDamaged, beside what was found elsewhere.
	Find(ctx context.Context, source int64, at time.Time, match func(record []byte) bool) ([][]byte, error)
}

// rawOf returns the lines that have the record's own identifier, which is how
// people find them, too; "" when it has none or they are not kept.
func (u *Usage) rawOf(ctx context.Context, use *tallystick.Use) (string, error) {
	var marks [][]byte
	mark := func(text string) {
		if len(marks) == 0 && text != "" {
			quoted, _ := json.Marshal(text) // as it stands in JSON, without the quotes
			marks = [][]byte{[]byte(text), quoted[1 : len(quoted)-1]}
		}
	}
	var hash string
	_ = json.Unmarshal([]byte(use.Other["hash"]), &hash) // what is none is none
	for _, text := range []string{hash, use.ID, use.IDs.Request, use.IDs.UTI, use.IDs.Queue, use.IDs.Session, use.IDs.Correlation} {
		mark(text)
	}
	if use.Seq > 0 {
		mark(fmt.Sprintf(`"seq":%d,`, use.Seq))
	}
	if len(marks) == 0 {
		return "", nil
	}
	source, err := u.DB.Source(ctx, use.Source)
	if errors.Is(err, tallystick.ErrNotFound) { // it was removed: what it wrote is kept under its number, which nobody knows any more
		return "", nil
	} else if err != nil {
		return "", err
	}
	lines, err := u.Raw.Find(ctx, source.ID, use.Time, func(line []byte) bool {
		return slices.ContainsFunc(marks, func(m []byte) bool { return bytes.Contains(line, m) })
	})
	if len(lines) > 0 && errors.Is(err, tallystick.ErrDamaged) {
		err = nil // elsewhere, and others of its records say so
	}
	text := bytes.Join(lines, []byte("\n"))
	return strings.ToValidUTF8(string(text[:min(len(text), mostRaw)]), "\uFFFD"), err
}

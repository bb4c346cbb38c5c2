// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// useFormat is version 1 of the use record (docs/use-record.schema.json).
func useFormat() Format {
	return Format{
		Name: "use", layout: byElement,
		is: func(record string) bool {
			return hasMembers(record, "v", "time") || hasMembers(record, "v", "closed") || hasMembers(record, "side", "credential", "time")
		},
		reader: func(s Settings) ReadFunc {
			return newUseReader(s).read
		},
	}
}

// A useRecord is what stands in a record, before it is checked.
type useRecord struct {
	u                             tallystick.Use
	version, time, until, closed  string
	seq, count, port, level, side string
	outcome                       string
	ids                           *template
}

// A useReader reads many records: what one needs is made once.
type useReader struct {
	settings     Settings
	members, ids *template
	record       useRecord
	at           cursor
	take         func(key string) error
}

func newUseReader(s Settings) *useReader {
	r := &useReader{settings: s, members: newTemplate(), ids: newTemplate()}
	r.take = func(key string) error { return r.record.member(&r.at, key) }
	return r
}

func (r *useReader) read(record string, sink Sink) error {
	r.record, r.at = useRecord{ids: r.ids}, cursor{text: record}
	if err := r.members.object(&r.at, everything, r.take); err != nil {
		return err
	}
	if err := r.at.end(); err != nil {
		return err
	}
	return r.record.emit(r.settings, sink)
}

// emit checks the record and gives it on.
func (r *useRecord) emit(settings Settings, sink Sink) error {
	if r.version != "1" && r.version != "" {
		return fmt.Errorf("expected \"v\":1, and it is %q", r.version)
	}
	if err := r.sides(settings); err != nil {
		return err
	}
	if r.closed != "" {
		closed, err := readTime(r.closed)
		if err != nil {
			return fmt.Errorf("closed: %w", err)
		}
		sink.Close(tallystick.ClosingMark{Source: r.u.Source, Side: r.u.Side, Closed: closed})
		if r.time == "" {
			return nil
		}
	}
	if err := r.check(); err != nil {
		return err
	}
	if r.u.Other["lost"] != "" {
		return r.lost(sink)
	}
	if len(r.u.Credential) == 0 && r.u.IDs.UTI == "" {
		return errors.New("expected credential: one name or several, such as \"x5t:1949...\"")
	}
	sink.Use(&r.u)
	return nil
}

// lost gives on that a book could not write down uses. What a relying party lost
// decides nothing: no verdict waits for it.
func (r *useRecord) lost(sink Sink) (err error) {
	if r.u.Count, err = readCount(r.u.Other["lost"]); err != nil {
		return fmt.Errorf("lost: %w", err)
	}
	if r.u.Side == tallystick.SideHolder {
		sink.Lost(&r.u)
	}
	return nil
}

// member takes one member of the record.
func (r *useRecord) member(c *cursor, key string) (err error) {
	u := &r.u
	switch key {
	case "v":
		return c.into(&r.version)
	case "id":
		return c.into(&u.ID)
	case "source":
		return c.into(&u.Source)
	case "seq":
		return c.into(&r.seq)
	case "side":
		return c.into(&r.side)
	case "level":
		return c.into(&r.level)
	case "time":
		return c.into(&r.time)
	case "until":
		return c.into(&r.until)
	case "count":
		return c.into(&r.count)
	case "closed":
		return c.into(&r.closed)
	case "credential":
		u.Credential, err = c.strings()
		return err
	case "ids":
		if c.space() == 'n' {
			return c.skip()
		}
		return r.ids.object(c, everything, func(name string) error { return idMember(c, &u.IDs, name) })
	}
	return r.wordMember(c, key)
}

// wordMember takes the members that are text and nothing more.
func (r *useRecord) wordMember(c *cursor, key string) error {
	u := &r.u
	switch key {
	case "holder":
		return c.into(&u.Holder)
	case "relying_party":
		return c.into(&u.RelyingParty)
	case "outcome":
		return c.into(&r.outcome)
	case "address":
		return c.into(&u.Address)
	case "port":
		return c.into(&r.port)
	case "agent":
		return c.into(&u.Agent)
	case "operation":
		return c.into(&u.Operation)
	case "resource":
		return c.into(&u.Resource)
	case "detail":
		return c.into(&u.Detail)
	}
	value, err := c.raw()
	if u.Other == nil {
		u.Other = map[string]string{}
	}
	u.Other[key] = value
	return err
}

// idMember takes one identifier.
func idMember(c *cursor, ids *tallystick.UseIDs, name string) error {
	switch name {
	case "uti":
		return c.into(&ids.UTI)
	case "correlation":
		return c.into(&ids.Correlation)
	case "request":
		return c.into(&ids.Request)
	case "session":
		return c.into(&ids.Session)
	case "queue":
		return c.into(&ids.Queue)
	case "serial":
		return c.into(&ids.Serial)
	case "parent":
		return c.into(&ids.Parent)
	}
	value, err := c.scalar()
	if value != "" {
		if ids.Other == nil {
			ids.Other = map[string]string{}
		}
		ids.Other[name] = value
	}
	return err
}

// sides sets the side, which a file may say for its records. A record cannot say
// another: who writes the logs of one side could speak for the other.
func (r *useRecord) sides(settings Settings) error {
	switch side := tallystick.Side(strings.ToLower(r.side)); side {
	case tallystick.SideHolder, tallystick.SideRelying:
		if settings.Side != "" && settings.Side != side {
			return fmt.Errorf("expected a record of the %s side, as all of this file, and it is of side %s", settings.Side, side)
		}
		r.u.Side = side
	case "":
		r.u.Side = settings.Side
	default:
		return fmt.Errorf("expected side holder or relying, and it is %q", r.side)
	}
	return nil
}

// check reads what is not plain text, and wants what a tally cannot do without.
func (r *useRecord) check() (err error) {
	u := &r.u
	if u.Time, err = readTime(r.time); err != nil {
		return err
	}
	u.Until, u.Count = u.Time, 1
	if r.until != "" {
		if u.Until, err = readTime(r.until); err != nil || u.Until.Before(u.Time) {
			return errors.New("expected until to be a time, and not before time")
		}
	}
	if r.count != "" {
		if u.Count, err = readCount(r.count); err != nil {
			return err
		}
	}
	if r.seq != "" {
		if u.Seq, err = strconv.ParseUint(r.seq, 10, 64); err != nil {
			return errors.New("expected seq to be a number from 1")
		}
	}
	if r.port != "" {
		if u.Port, err = strconv.Atoi(r.port); err != nil {
			return errors.New("expected port to be a number")
		}
	}
	switch level := tallystick.Level(strings.ToLower(r.level)); level {
	case "":
		u.Level = tallystick.LevelRequest
	case tallystick.LevelSignature, tallystick.LevelRequest, tallystick.LevelToken, tallystick.LevelCall:
		u.Level = level
	default:
		return fmt.Errorf("expected level signature, request, token or call, and it is %q", r.level)
	}
	u.Outcome = outcomeOf(r.outcome, u.Detail)
	if u.Side == tallystick.SideHolder && strings.EqualFold(r.outcome, string(tallystick.OutcomeRefused)) && !hasEntraCode(u.Detail) {
		// A holder knows that it used the key, though not why it was refused.
		u.Outcome = tallystick.OutcomeRefused
	}
	return nil
}

func readCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxCount {
		return 0, fmt.Errorf("expected a count from 1 to %d", int64(maxCount))
	}
	return n, nil
}

// maxCount bounds counted records, so that sums of them stay whole numbers.
const maxCount = 1 << 40

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

// The values of a use record.
const (
	_ = iota
	isVersion
	isID
	isSource
	isSeq
	isSide
	isLevel
	isTime
	isUntil
	isCount
	isClosed
	isCredential
	isHolder
	isParty
	isOutcome
	isAddress
	isPort
	isAgent
	isOperation
	isResource
	isDetail
	isIDs
	isUTI
	isCorrelation
	isRequest
	isSession
	isQueue
	isSerial
	isParent
	isAll
)

// useMembers are the members that version 1 names.
var useMembers = members{
	"v": {value: isVersion}, "id": {value: isID}, "source": {value: isSource}, "seq": {value: isSeq}, "side": {value: isSide}, "level": {value: isLevel},
	"time": {value: isTime}, "until": {value: isUntil}, "count": {value: isCount}, "closed": {value: isClosed},
	"credential": {value: isCredential, raw: true}, "holder": {value: isHolder}, "relying_party": {value: isParty}, "outcome": {value: isOutcome},
	"address": {value: isAddress}, "port": {value: isPort}, "agent": {value: isAgent}, "operation": {value: isOperation},
	"resource": {value: isResource}, "detail": {value: isDetail},
	"ids": {value: isIDs, inside: members{
		"uti": {value: isUTI}, "correlation": {value: isCorrelation}, "request": {value: isRequest}, "session": {value: isSession},
		"queue": {value: isQueue}, "serial": {value: isSerial}, "parent": {value: isParent},
	}},
}

// A useReader reads many records: what one needs is made once.
type useReader struct {
	settings Settings
	members  *template
	at       cursor
	is       [isAll]string
	u        tallystick.Use
}

func newUseReader(s Settings) *useReader {
	r := &useReader{settings: s}
	r.members = newTemplate(useMembers, r.other)
	return r
}

func (r *useReader) read(record string, sink Sink) error {
	names := r.u.Credential[:0]
	r.u, r.is, r.at = tallystick.Use{Credential: names}, [isAll]string{}, cursor{text: record}
	if err := r.members.read(&r.at, r.is[:]); err != nil {
		return err
	}
	if err := r.at.end(); err != nil {
		return err
	}
	return r.emit(sink)
}

// other takes a member that has no name here.
func (r *useReader) other(in int, key, raw string) (err error) {
	of := &r.u.Other
	if in == isIDs {
		c := cursor{text: raw}
		if raw, err = c.scalar(); raw == "" {
			return err
		}
		of = &r.u.IDs.Other
	}
	if *of == nil {
		*of = map[string]string{}
	}
	(*of)[key] = raw
	return nil
}

// emit checks the record and gives it on.
func (r *useReader) emit(sink Sink) error {
	if v := r.is[isVersion]; v != "1" && v != "" {
		return fmt.Errorf("expected \"v\":1, and it is %q", v)
	}
	if err := r.sides(); err != nil {
		return err
	}
	r.u.Source = r.is[isSource]
	if r.is[isClosed] != "" {
		closed, err := readTime(r.is[isClosed])
		if err != nil {
			return fmt.Errorf("closed: %w", err)
		}
		sink.Close(tallystick.ClosingMark{Source: r.u.Source, Side: r.u.Side, Closed: closed})
		if r.is[isTime] == "" {
			return nil
		}
	}
	if err := r.texts(); err != nil {
		return err
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

// texts takes what is text and nothing more.
func (r *useReader) texts() (err error) {
	is, u := &r.is, &r.u
	u.ID, u.Holder, u.RelyingParty, u.Address = is[isID], is[isHolder], is[isParty], is[isAddress]
	u.Agent, u.Operation, u.Resource, u.Detail = is[isAgent], is[isOperation], is[isResource], is[isDetail]
	u.IDs.UTI, u.IDs.Correlation, u.IDs.Request, u.IDs.Session = is[isUTI], is[isCorrelation], is[isRequest], is[isSession]
	u.IDs.Queue, u.IDs.Serial, u.IDs.Parent = is[isQueue], is[isSerial], is[isParent]
	if is[isCredential] != "" {
		c := cursor{text: is[isCredential]}
		u.Credential, err = c.appendStrings(u.Credential)
	}
	return err
}

// lost gives on that a book could not write down uses. What a relying party lost
// decides nothing: no verdict waits for it.
func (r *useReader) lost(sink Sink) (err error) {
	if r.u.Count, err = readCount(r.u.Other["lost"]); err != nil {
		return fmt.Errorf("lost: %w", err)
	}
	if r.u.Side == tallystick.SideHolder {
		sink.Lost(&r.u)
	}
	return nil
}

// sides sets the side, which a file may say for its records. A record cannot say
// another: who writes the logs of one side could speak for the other.
func (r *useReader) sides() error {
	all := r.settings.Side
	switch side := tallystick.Side(strings.ToLower(r.is[isSide])); side {
	case tallystick.SideHolder, tallystick.SideRelying:
		if all != "" && all != side {
			return fmt.Errorf("expected a record of the %s side, as all of this file, and it is of side %s", all, side)
		}
		r.u.Side = side
	case "":
		r.u.Side = all
	default:
		return fmt.Errorf("expected side holder or relying, and it is %q", r.is[isSide])
	}
	return nil
}

// check reads what is not plain text, and wants what a tally cannot do without.
func (r *useReader) check() (err error) {
	is, u := &r.is, &r.u
	if u.Time, err = readTime(is[isTime]); err != nil {
		return err
	}
	u.Until, u.Count = u.Time, 1
	if is[isUntil] != "" {
		if u.Until, err = readTime(is[isUntil]); err != nil || u.Until.Before(u.Time) {
			return errors.New("expected until to be a time, and not before time")
		}
	}
	if is[isCount] != "" {
		if u.Count, err = readCount(is[isCount]); err != nil {
			return err
		}
	}
	if is[isSeq] != "" {
		if u.Seq, err = strconv.ParseUint(is[isSeq], 10, 64); err != nil {
			return errors.New("expected seq to be a number from 1")
		}
	}
	if is[isPort] != "" {
		if u.Port, err = strconv.Atoi(is[isPort]); err != nil {
			return errors.New("expected port to be a number")
		}
	}
	switch level := tallystick.Level(strings.ToLower(is[isLevel])); level {
	case "":
		u.Level = tallystick.LevelRequest
	case tallystick.LevelSignature, tallystick.LevelRequest, tallystick.LevelToken, tallystick.LevelCall:
		u.Level = level
	default:
		return fmt.Errorf("expected level signature, request, token or call, and it is %q", is[isLevel])
	}
	u.Outcome = outcomeOf(is[isOutcome], u.Detail)
	if u.Side == tallystick.SideHolder && strings.EqualFold(is[isOutcome], string(tallystick.OutcomeRefused)) && !hasEntraCode(u.Detail) {
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

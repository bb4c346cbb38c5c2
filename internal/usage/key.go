// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

// The key of a record is tally.Key, and behind it where it is found in the ledger
// when nothing is said of it: under which credential, and when. A verdict that was
// taken back leaves no row, and who has kept an address must not lose the record.

func keyOf(record string, used int64, at time.Time) string {
	if used == 0 {
		return record
	}
	return record + "-" + strconv.FormatInt(used, 10) + "-" + strconv.FormatInt(at.UnixMicro(), 10)
}

// A recordKey is a key taken apart; used is 0 when it is tally.Key alone.
type recordKey struct {
	record string
	used   int64
	at     int64 // microseconds since 1970
}

func parseKey(key string) (recordKey, error) {
	wrong := fmt.Errorf("%w: %.80q names no record", tallystick.ErrInvalid, key)
	record, rest, more := strings.Cut(key, "-")
	if len(record) != 32 || strings.Trim(record, "0123456789abcdef") != "" {
		return recordKey{}, wrong
	}
	k := recordKey{record: record}
	if !more {
		return k, nil
	}
	used, at, ok := strings.Cut(rest, "-")
	var err error
	if k.used, err = strconv.ParseInt(used, 10, 64); err != nil || !ok || k.used < 1 {
		return recordKey{}, wrong
	}
	if k.at, err = strconv.ParseInt(at, 10, 64); err != nil {
		return recordKey{}, wrong
	}
	return k, nil
}

// A position is where a page of the ledger ended: at a time, behind so many
// records of that time.
type position struct {
	At   int64 `json:"t"` // microseconds since 1970
	Skip int   `json:"n,omitempty"`
}

// positionBehind is behind the last of the records of a page that began at a
// position, the newest first.
func positionBehind(began *position, list []Record) position {
	p := position{At: list[len(list)-1].Use.Time.UnixMicro()}
	for i := len(list) - 1; i >= 0 && list[i].Use.Time.UnixMicro() == p.At; i-- {
		p.Skip++
	}
	if began != nil && began.At == p.At {
		p.Skip += began.Skip
	}
	return p
}

func (p position) String() string {
	text, _ := json.Marshal(p) // two numbers
	return base64.RawURLEncoding.EncodeToString(text)
}

func parsePosition(text string) (*position, error) {
	if text == "" {
		return nil, nil
	}
	p := &position{}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, p)
	}
	if err != nil || p.Skip < 0 {
		return nil, fmt.Errorf("%w: this is not a place in this list; begin again at its first page", tallystick.ErrInvalid)
	}
	return p, nil
}

// end is behind all records of the position's time.
func (p *position) end() time.Time { return time.UnixMicro(p.At + 1).UTC() }

func (p *position) is(t time.Time) bool { return t.UnixMicro() == p.At }

func (p *position) skip() int {
	if p == nil {
		return 0
	}
	return p.Skip
}

// query is what the ledger looks at of a filter.
func (f *Filter) query(s *subject) ledger.Query {
	return ledger.Query{Names: s.names, Side: f.Side, Source: f.Source, RelyingParty: f.Party}
}

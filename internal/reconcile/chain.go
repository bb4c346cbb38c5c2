// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/uses"
)

// A Broken is a place where a holder's book does not follow from itself: a record
// was taken out, changed or moved.
type Broken struct {
	Source string // the book
	File   string
	Line   int
	Why    string
}

// String returns a line for people.
func (b Broken) String() string {
	book := "a book without a name"
	if b.Source != "" {
		book = "book " + b.Source
	}
	return fmt.Sprintf("%s: %s (%s, line %d)", book, b.Why, b.File, b.Line)
}

// books follows the books of one file, each from where it begins there: a file
// may hold a part of a book, or several books. Records without a hash are left to
// the tally, which counts the numbers that are missing whatever their order.
type books struct {
	log    *uses.Log
	at     map[string]*holder.Follower // by source
	broken []Broken
	count  int64
}

func newBooks(log *uses.Log) *books {
	return &books{log: log, at: map[string]*holder.Follower{}}
}

// follow reads the records of the next block.
func (b *books) follow(block *uses.Block) {
	if b.log.Format.Name != "use" {
		return
	}
	block.Each(func(record string, _ int64, line int) {
		if !holder.IsChained(record) {
			return
		}
		source, ok := sourceOf(record)
		if !ok {
			return // malformed, and told as such
		}
		at := b.at[source]
		if at == nil {
			at = &holder.Follower{}
			b.at[strings.Clone(source)] = at
		}
		if err := at.Follow([]byte(record)); err != nil {
			b.note(Broken{Source: source, File: b.log.Name, Line: line, Why: err.Error()})
		}
	})
}

// note keeps the first of a file.
func (b *books) note(one Broken) {
	b.count++
	if len(b.broken) < maxMalformed {
		one.Source = strings.Clone(one.Source)
		b.broken = append(b.broken, one)
	}
}

// sourceOf returns the book of a record. It is looked for where package holder
// writes it, and read as JSON where that has another look.
func sourceOf(record string) (string, bool) {
	if rest, ok := strings.CutPrefix(record, `{"v":1,"source":"`); ok {
		if source, _, ok := strings.Cut(rest, `"`); ok && !strings.Contains(source, `\`) {
			return source, true
		}
	}
	var r struct{ Source string }
	err := json.Unmarshal([]byte(record), &r)
	return r.Source, err == nil
}

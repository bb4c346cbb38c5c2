// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/usage"
)

// usePage answers: what is this one record, and is it in the other book?
type usePage struct {
	frame
	usage.Detail
	Name            string
	Sentence        string // the verdict for a person
	Holder, Relying half
	HeldAt, OpensAt []tick // the notches
	Identifiers     []field
	Raw             string // as received; "" when it must not be read here, or is not kept
	RawNote         string // why there is none
	MoreRaw         int64  // bytes that are not shown
}

// A half is one side's record of a use.
type half struct {
	There bool
	Own   bool // it is the record that the page is about
	Key   string
	Use   tallystick.Use
}

// maxRaw is how many bytes of a record the page shows.
const maxRaw = 16 << 10

// Use is one record with the other half of it.
func (s *Site) Use(w http.ResponseWriter, r *http.Request) {
	d, err := s.Usage.Record(r.Context(), actorOf(r), r.PathValue("key"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &usePage{Detail: *d, Name: usedName(d.Credential), Sentence: verdictSentence(d)}
	p.frame = frame{Title: "Use of " + clip(60, p.Name), Section: "uses", Actor: actorOf(r)}
	own := half{There: true, Own: true, Key: d.Key, Use: d.Use}
	var other half
	if d.Other != nil {
		other = half{There: true, Key: d.Other.Key, Use: d.Other.Use}
	}
	p.Holder, p.Relying = other, own
	if d.Use.Side == tallystick.SideHolder {
		p.Holder, p.Relying = own, other
	}
	p.HeldAt, p.OpensAt = notchesIf(p.Holder.There, 3), notchesIf(p.Relying.There, 57)
	ids := d.Use.IDs.Map()
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		p.Identifiers = append(p.Identifiers, field{name, ids[name]})
	}
	p.Raw, p.MoreRaw = d.Raw, int64(max(0, len(d.Raw)-maxRaw))
	p.Raw = strings.ToValidUTF8(p.Raw[:len(p.Raw)-int(p.MoreRaw)], "\uFFFD")
	switch {
	case !p.MayChange():
		p.Raw, p.RawNote = "", "Operators and administrators can read it here."
	case p.Raw == "":
		p.RawNote = "It is not kept, or the record has nothing by which to find it. A source keeps what it reads for as long as its keep_raw says."
	}
	s.render(w, r, http.StatusOK, "use", p)
}

// notchesIf cuts a half that is there. Both halves of a use are cut alike.
func notchesIf(there bool, from float64) []tick {
	if !there {
		return nil
	}
	return notches(5, from)
}

// verdictSentence says what the tally says of a record, in words.
func verdictSentence(d *usage.Detail) string {
	many := d.Use.Count > 1
	uses := "This use"
	if many {
		uses = fmt.Sprintf("These %s uses", number(d.Use.Count))
	}
	was, has := "was", "has"
	if many {
		was, has = "were", "have"
	}
	switch d.Verdict {
	case tallystick.VerdictMatched:
		return "Both sides saw it: the holder made it, and the relying party accepted it."
	case tallystick.VerdictForeign:
		return uses + " " + was + " accepted there and not made here: somebody else has the key, or a program that has it writes no book."
	case tallystick.VerdictUnconfirmed:
		return uses + " " + was + " made here and not seen there: the relying party did not record it, or its book is not read."
	case tallystick.VerdictPending:
		return uses + " " + has + " no other half yet, and a book that could have it is still open."
	case tallystick.VerdictAttempt:
		return "Somebody tried and did not show that they have the key. That is no use, and takes no part in the tally."
	}
	return "Nothing was said of it yet."
}

// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// booksPage answers: can I trust the silence?
type booksPage struct {
	frame
	Sentence string
	Loud     bool // whether the sentence is bad news
	Offers   []offer
	Troubled []bookView // the loudest first
	Books    []bookView
}

// A bookView is a book as the page shows it.
type bookView struct {
	usage.Book
	Severity tallystick.Severity // of what is wrong; 0 is nothing
	Wrong    []trouble
	How      string // "file, entra-signin"
	BehindBy string // how far behind it is closed
	Lateness string
	SkewBy   string
	Heard    moment
	UsesURL  string
}

// A trouble is something wrong with a book, and what to do about it.
type trouble struct {
	Severity tallystick.Severity
	What, Do string
}

// muchSkew is a difference of clocks that people have to mend; the tally's
// tolerance is twice that.
const muchSkew = time.Minute

// someSkew is what is worth saying: records of the other side are a moment late,
// whatever the clocks.
const someSkew = 2 * time.Second

// Books is each source with how far it can be trusted.
func (s *Site) Books(w http.ResponseWriter, r *http.Request) {
	books, err := s.Usage.Books(r.Context(), actorOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &booksPage{frame: frame{Title: "Books", Section: "books"}, Offers: bookOffers("/books")}
	for _, b := range books {
		p.Books = append(p.Books, viewBook(s.Now(), b))
	}
	slices.SortStableFunc(p.Books, func(a, b bookView) int {
		return cmp.Or(int(b.Severity)-int(a.Severity), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Side, b.Side))
	})
	for _, b := range p.Books {
		if b.Severity > 0 {
			p.Troubled = append(p.Troubled, b)
		}
	}
	p.Sentence, p.Loud = trustSentence(s.Now(), p.Books)
	s.render(w, r, http.StatusOK, "books", p)
}

// bookOffers are the views of the books; on is the address of the one that is shown.
func bookOffers(on string) []offer {
	list := []offer{{Label: "Books", URL: "/books"}, {Label: "Who tells about whom", URL: "/books/map"}, {Label: "Sources", URL: "/sources"}}
	for i := range list {
		list[i].On = list[i].URL == on
	}
	return list
}

// trustSentence answers the question of the page; loud says that it is no.
func trustSentence(now time.Time, books []bookView) (sentence string, loud bool) {
	var silent, troubled int64
	var least time.Time
	for _, b := range books {
		switch {
		case b.Silent:
			silent++
		case b.Severity >= tallystick.SeverityMedium:
			troubled++
		}
		if b.Side == tallystick.SideHolder && !b.done() && !b.Closed.IsZero() && (least.IsZero() || b.Closed.Before(least)) {
			least = b.Closed
		}
	}
	all := int64(len(books))
	switch {
	case all == 0:
		return "Nobody tells about uses yet.", false
	case silent > 0:
		return fmt.Sprintf("No: %s silent. What %s would tell is not known.", plural(silent, "book is", "books are"), verb(silent, "it", "they")), true
	case troubled > 0:
		return fmt.Sprintf("Not wholly: every book was heard, and something is wrong with %s.", plural(troubled, "of them", "of them")), true
	case least.IsZero():
		return "Only in part: no holder's book is read, so nothing can be called foreign.", false
	}
	return fmt.Sprintf("Yes, up to %s ago: every holder's book is complete until then.", span(now.Sub(least))), false
}

// done says that nothing will come any more.
func (v bookView) done() bool { return v.Ended != nil || v.Reading != nil && !v.Reading.Done.IsZero() }

// viewBook returns a book as seen at now.
func viewBook(now time.Time, b usage.Book) bookView {
	v := bookView{Book: b, Heard: momentOf(now, heardOf(b)), UsesURL: useURL("source", b.Source, "list", "true"), How: "not read any more"}
	if b.Ended != nil {
		v.How = "ended: " + clip(100, b.Ended.Reason)
	} else if b.Reading != nil {
		v.How = b.Reading.Kind
		if b.Reading.Format != "" {
			v.How += ", " + b.Reading.Format
		}
		if b.Reading.Paused {
			v.How += ", paused"
		}
	}
	switch {
	case v.done():
		v.BehindBy = "read to its end"
	case b.Closed.IsZero():
		v.BehindBy = "never closed"
	default:
		v.BehindBy = span(max(0, now.Sub(b.Closed))) + " behind"
	}
	if b.MostLate > 0 {
		v.Lateness = fmt.Sprintf("%s, at most %s", brief(b.Late), brief(b.MostLate))
	}
	if b.Skew.Abs() >= someSkew {
		v.SkewBy = brief(b.Skew.Abs()) + map[bool]string{true: " fast", false: " slow"}[b.Skew > 0]
	}
	v.Wrong = troubles(now, b)
	for _, w := range v.Wrong {
		v.Severity = max(v.Severity, w.Severity)
	}
	return v
}

// brief writes a duration in a few characters.
func brief(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return span(d)
}

// troubles says what is wrong with a book, the worst first.
func troubles(now time.Time, b usage.Book) []trouble {
	var list []trouble
	add := func(is bool, severity tallystick.Severity, what, do string) {
		if is {
			list = append(list, trouble{severity, what, do})
		}
	}
	heard := "It was never heard"
	if at := heardOf(b); !at.IsZero() {
		heard = "It was last heard " + relative(at.Sub(now))
	}
	reading := b.Reading
	if reading == nil {
		reading = &store.Source{}
	}
	if reading.Silence > 0 {
		heard += ", and should be every " + brief(reading.Silence)
	}
	add(b.Silent, tallystick.SeverityCritical, heard+".", silentDo(reading))
	add(reading.Error != "", tallystick.SeverityCritical, "It cannot be read: "+clip(300, reading.Error)+".", "Mend what the message says; reading goes on by itself where it stopped.")
	add(b.Chain.BrokenCount > 0, tallystick.SeverityCritical, brokenWords(b.Chain),
		"Take this book for edited: compare it with a copy from where it is written, and ask who could write to it.")
	add(b.Twice > 0, tallystick.SeverityHigh, fmt.Sprintf("%s came again with other content, last %d.", plural(b.Twice, "number", "numbers"), b.TwiceAt),
		"Either its writer was started again from one, or somebody changed the book. Ask whoever runs it.")
	add(b.MissingCount > 0, tallystick.SeverityHigh, missingWords(b.Book), "Send the missing records again: what was read already changes nothing. If they are gone, ask who removed them.")
	add(b.AfterClose > 0, tallystick.SeverityMedium, fmt.Sprintf("%s came after the book had said that it was complete.", plural(b.AfterClose, "record", "records")),
		"Its writer closes too early: raise its settle time, or mend the writer. The verdicts were put right.")
	add(reading.Malformed > 0, tallystick.SeverityMedium, fmt.Sprintf("%s could not be read.", plural(reading.Malformed, "record", "records")),
		"Look at the newest below. Whether the format is the right one is what to ask first.")
	add(b.Skew.Abs() >= muchSkew, tallystick.SeverityMedium, fmt.Sprintf("Its clock is %s %s.", brief(b.Skew.Abs()), map[bool]string{true: "fast", false: "slow"}[b.Skew > 0]),
		"Set the clock of whoever writes it. Beyond two minutes, uses match by their ids alone.")
	gone := b.Reading == nil && b.Ended == nil && b.Side == tallystick.SideHolder && (b.Closed.IsZero() || b.Behind > longGone)
	add(gone, tallystick.SeverityMedium, "Nobody reads it any more, and later uses wait for it.",
		"Add its source again; or, if its writer is gone for good: tally ledger end "+b.Source+" --reason ...")
	add(b.Closed.IsZero() && !gone && b.Ended == nil && reading.Done.IsZero() && !b.Silent && b.Side == tallystick.SideHolder, tallystick.SeverityMedium, "It never said how far it is complete, so uses wait for it.",
		"Let its writer send closing marks, or give the source a settle time.")
	slices.SortStableFunc(list, func(a, b trouble) int { return int(b.Severity) - int(a.Severity) })
	return list
}

// longGone is how far behind a book is that nobody reads, before that is worth a word.
const longGone = time.Hour

// heardOf returns when a book last said anything, be it no use.
func heardOf(b usage.Book) time.Time {
	if b.Reading != nil && b.Reading.Heard.After(b.Heard) {
		return b.Reading.Heard
	}
	return b.Heard
}

// silentDo says what to do about a silent source of a kind.
func silentDo(s *store.Source) string {
	switch s.Kind {
	case store.SourceFile, store.SourceDirectory:
		return "See whether its writer runs and still writes to this path. Until it does, nothing that it would confirm can be called foreign."
	case store.SourceHTTP, store.SourceOTLP, store.SourceSyslog:
		return "See whether its sender runs, reaches this server, and shows a token or certificate that is taken. Until it does, nothing that it would confirm can be called foreign."
	case store.SourceDriver:
		return "See on the page Sources whether something keeps it from being read, such as a consent that was taken back. Until it is read, nothing that it would confirm can be called foreign."
	}
	return "Find out who wrote it, and whether it still should. If not, \"tally source remove\" takes it away, so that nothing waits for it."
}

func brokenWords(c ledger.Chain) string {
	words := fmt.Sprintf("%s not follow from the one before: it was changed, or one was removed", plural(c.BrokenCount, "record does", "records do"))
	if len(c.Broken) > 0 {
		words += fmt.Sprintf(". The first is number %d", c.Broken[0])
	}
	return words + "."
}

func missingWords(b ledger.Book) string {
	words := fmt.Sprintf("%s missing", plural(int64(b.MissingCount), "record is", "records are"))
	for i, gap := range head(3, b.Missing) {
		words += []string{": ", ", ", ", "}[i] + number(int64(gap.From))
		if gap.To > gap.From {
			words += "–" + number(int64(gap.To))
		}
	}
	if len(b.Missing) > 3 {
		words += " and more"
	}
	return words + "."
}

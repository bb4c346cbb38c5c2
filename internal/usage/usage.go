// SPDX-License-Identifier: Apache-2.0

// Package usage answers what people ask about uses: who used which credential
// from where, whether both sides saw it, and how far the books of the sources can
// be trusted. It reads what package ledger keeps and package watch has made of it,
// and changes nothing.
package usage

import (
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// A Usage answers. Its methods are safe to call from several goroutines.
type Usage struct {
	DB     *store.DB
	Ledger *ledger.Ledger
	Gate   *gate.Gate
	Live   Live
	// Raw is nil where nothing is kept as it was received.
	Raw Raw
	Now func() time.Time
	// Fresh is how old what Quiet has read of the books may be, so that many questions in a
	// row cost one reading, and ten times as long as reading took where that is more; 0 reads for each.
	Fresh time.Duration
	// Own is the source in which this program itself records what it tries with credentials
	// of others. What is in it is no holder's use for Quiet.
	Own string

	readings readings
}

// Live knows what is not settled yet: *watch.Watch. It is nil where nothing
// watches, beside a running server say.
type Live interface {
	// Pending calls fn with the time of every use that waits for a book, and how
	// many uses it counts; used 0 is of every credential.
	Pending(used int64, fn func(at time.Time, count int64))
}

// Clocks is what Live may know besides.
type Clocks interface {
	// SkewOf returns how far the clock of a source is before that of its
	// counterparts; 0 when it agrees with one of them, or none is known.
	SkewOf(source string, side tallystick.Side) time.Duration
}

// Undecided is what a Live may have besides: of which uses nothing can be said yet,
// because they came late or wait for a book.
type Undecided interface {
	Undecided(used int64, at time.Time) bool
}

// A Bin is the uses of one step of time.
type Bin struct {
	At          time.Time `json:"at"` // when it begins
	Holder      int64     `json:"holder"`
	Relying     int64     `json:"relying"`
	Foreign     int64     `json:"foreign"`     // of Relying
	Pending     int64     `json:"pending"`     // of Relying
	Unconfirmed int64     `json:"unconfirmed"` // of Holder
	Attempts    int64     `json:"attempts"`    // beside Relying: nothing shows that the key was held
}

// A Chart is the uses of a time, step by step.
type Chart struct {
	From time.Time     `json:"from"`
	To   time.Time     `json:"to"`
	Step time.Duration `json:"-"` // programs get seconds
	Bins []Bin         `json:"bins"`
}

// A Credential is one that was used, as the inventory has it.
type Credential struct {
	Fingerprint tallystick.Fingerprint `json:"fingerprint"`
	Kind        tallystick.Kind        `json:"kind"`
	Subject     string                 `json:"subject"`
	Names       []string               `json:"names"` // under which its uses are recorded
}

// A Record is a use with its verdict.
type Record struct {
	Key        string             `json:"key"` // names the record, for its page
	Credential Credential         `json:"credential"`
	Verdict    tallystick.Verdict `json:"verdict"`
	Reason     string             `json:"reason,omitempty"`
	Incident   int64              `json:"incident,omitempty"`
	Use        tallystick.Use     `json:"use"`
}

// An Incident is the foreign uses of one credential that are less than a day apart.
type Incident struct {
	ID         int64      `json:"id"`
	Credential Credential `json:"credential"`
	Opened     time.Time  `json:"opened"` // when it was first told
	First      time.Time  `json:"first"`  // use
	Last       time.Time  `json:"last"`
	Uses       int64      `json:"uses"`
	Parties    int64      `json:"relying_parties"`
	Addresses  int64      `json:"addresses"`
	// TopAddresses and TopParties are those with the most uses, at most ten.
	TopAddresses []Count `json:"top_addresses,omitempty"`
	TopParties   []Count `json:"top_relying_parties,omitempty"`
}

// A Count is how many uses there are of something.
type Count struct {
	Name string `json:"name"`
	Uses int64  `json:"uses"`
}

// A Book is what one source has recorded on one side, and whether its silence can
// be trusted. Programs get a BookBody.
type Book struct {
	ledger.Book
	// Silent says that it should have been heard again by now.
	Silent bool `json:"silent"`
	// Reading is its source; nil for a book that nothing reads any more.
	Reading *store.Source `json:"reading,omitempty"`
	// Behind is how far before now it is closed; zero when it is not closed at all.
	Behind time.Duration `json:"-"`
	// Skew is how far its clock is before that of its counterparts; zero when that
	// is not known.
	Skew time.Duration `json:"-"`
	// Ended says that nobody writes it any more, so that nothing waits for it.
	Ended *store.EndedBook `json:"ended,omitempty"`
}

// A Connection is where a credential is accepted, as its uses show.
type Connection struct {
	Credential Credential `json:"credential"`
	Party      string     `json:"relying_party"`
	First      time.Time  `json:"first"`
	Last       time.Time  `json:"last"`
	Holder     int64      `json:"holder"`
	Relying    int64      `json:"relying"`
	Foreign    int64      `json:"foreign"`
}

// A Detail is one record with what the pages show beside it.
type Detail struct {
	Record
	// Other is the record of the other side that it is matched with, nil when
	// there is none or it is one of many.
	Other *Record `json:"other,omitempty"`
	// Near are records of the other side within ten minutes, those of the same
	// token or relying party first, then the nearest; at most ten.
	Near []Record `json:"near"`
	// Raw is what the source wrote, as it was received; "" when it is not kept or
	// who asks must not read it.
	Raw string `json:"raw,omitempty"`
}

// A Map is which books tell of which relying parties.
type Map struct {
	Books   []Book  `json:"books"`
	Parties []Party `json:"relying_parties"`
	// More counts the relying parties that are left out, those with the fewest uses.
	More int64 `json:"more,omitempty"`
}

// A Party is a relying party with the books, by source, that tell of uses there.
// A side without a book is one that nobody tells about.
type Party struct {
	Name        string   `json:"name"`
	Credentials int64    `json:"credentials"` // that were used there
	Holder      int64    `json:"holder"`      // uses
	Relying     int64    `json:"relying"`
	Foreign     int64    `json:"foreign"`
	Holders     []string `json:"holder_sources"`
	Relyings    []string `json:"relying_sources"`
}

// A Filter narrows what is shown; what is zero does not restrict.
type Filter struct {
	Credential string // its fingerprint, or a name under which it is used
	Verdict    tallystick.Verdict
	Side       tallystick.Side
	Source     string
	Party      string
	Address    string
	Incident   int64
	From, To   time.Time // To is not included
}

// An IncidentFilter narrows a list of incidents; what is zero does not restrict.
type IncidentFilter struct {
	Credential string    // as that of a Filter
	All        bool      // also those that were taken back as a whole
	From, To   time.Time // what has foreign uses before, in and behind it counts too; To is not included
}

// SPDX-License-Identifier: Apache-2.0

// Package uses reads who used which credential when: the use records of holders,
// and the logs of the systems that accept credentials. A format is one file of
// this package and one small function from the bytes of a record to uses; files,
// compression and recognition are the same for all of them.
//
// Logs are written by strangers. Reading one takes bounded memory, never panics,
// and says of each record that it could not use which one and what it expected.
package uses

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// A Sink takes what a record says. A *Use belongs to the reader: who keeps it
// beyond the call copies it, and its strings (see Keep).
type Sink interface {
	Use(u *tallystick.Use)
	Close(m tallystick.ClosingMark)
	// Lost takes what a holder's book could not write down: Count uses of Source
	// from Time to Until, of which it knows nothing else.
	Lost(u *tallystick.Use)
}

// A ReadFunc reads one record. A record that says nothing about uses of
// credentials gives nothing and no error; the error of a malformed one says what
// was expected.
type ReadFunc func(record string, sink Sink) error

// Settings are what the bytes of a log do not say.
type Settings struct {
	// Side is whose file it is: the side of a use record that names none. One
	// that names the other is malformed. Where Side is "" it may be either.
	Side tallystick.Side
	// Near is a time not long after the log was written, for logs whose times
	// name no year.
	Near time.Time
}

// A Format is one way to write uses down.
type Format struct {
	Name string

	// layout says where records begin and end.
	layout layout
	// is says whether a record is of this format; formats are asked in the
	// order of Formats, the particular before the general.
	is func(record string) bool
	// reader returns a function that one goroutine uses. Where following is set
	// it needs all records of a file in their order; otherwise several can
	// share a file.
	reader    func(Settings) ReadFunc
	following bool
	// remembers is set where a record says more to who has read those before it, and as much as it must
	// to who has not.
	remembers bool
}

// A layout says how a file is cut into records.
type layout int

const (
	byLine    layout = iota // a record a line
	byElement               // a record is a JSON object: one a line, in an array, or in a page
	byEvent                 // a record is an XML element Event
	byChunk                 // an event log of Windows, which is not text
)

// Formats returns every format, in the order in which they are tried.
func Formats() []Format {
	return []Format{
		useFormat(), directoryFormat(),
		entraLastUseFormat(), entraRiskFormat(), entraKeysFormat(), entraDiagnosticFormat(), entraLogAnalyticsFormat(), entraSignInFormat(),
		graphActivityFormat(), graphAuditFormat(), unifiedAuditFormat(), officeActivityFormat(), cloudTrailFormat(),
		entraAuditDiagnosticFormat(), entraAuditLogAnalyticsFormat(), entraAuditFormat(),
		sambaFormat(), windowsJSONFormat(), windowsXMLFormat(), windowsEVTXFormat(),
		nginxFormat(), haproxyFormat(), zeekJSONFormat(), zeekTSVFormat(),
		openLDAPFormat(), dovecotFormat(), postfixFormat(), postgresFormat(), openSSHFormat(),
	}
}

// FormatNamed returns the format of a name.
func FormatNamed(name string) (Format, bool) {
	for _, f := range Formats() {
		if f.Name == name {
			return f, true
		}
	}
	return Format{}, false
}

// FormatNames returns the names of all formats.
func FormatNames() []string {
	var names []string
	for _, f := range Formats() {
		names = append(names, f.Name)
	}
	return names
}

// stateless is a reader that needs no settings.
func stateless(read ReadFunc) func(Settings) ReadFunc {
	return func(Settings) ReadFunc { return read }
}

// Keep returns a copy of u that shares no memory with the record that it was read from.
func Keep(u *tallystick.Use) *tallystick.Use {
	k := *u
	for _, s := range []*string{
		&k.ID, &k.Source, &k.Holder, &k.RelyingParty, &k.Address, &k.Agent, &k.Operation, &k.Resource, &k.Detail,
		&k.IDs.UTI, &k.IDs.Correlation, &k.IDs.Request, &k.IDs.Session, &k.IDs.Queue, &k.IDs.Serial, &k.IDs.Parent,
	} {
		*s = strings.Clone(*s)
	}
	k.Credential = nil
	for _, name := range u.Credential {
		k.Credential = append(k.Credential, strings.Clone(name))
	}
	k.Other, k.IDs.Other = cloneMap(u.Other), cloneMap(u.IDs.Other)
	return &k
}

func cloneMap(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	c := make(map[string]string, len(m))
	for key, value := range m {
		c[strings.Clone(key)] = strings.Clone(value)
	}
	return c
}

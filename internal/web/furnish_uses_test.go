// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// The names under which the uses of the tests are recorded.
const (
	backupAccount = "account:ldap/uid=svc-backup,ou=people,dc=example,dc=net"
	thiefAddress  = "198.51.100.9"
)

// used adds to a house a week of uses: a vendor's certificate that opens the
// tenants of its customers, and an account of a directory. Somebody else has the
// certificate's key.
func (h *house) used() tallystick.Credential {
	h.Helper()
	defer h.at(testNow)
	h.at(testNow.AddDate(0, 0, -20))
	c := newAuthority(h, "Example CA").issue(newKey(h), "mail-sync.vendor.example", 40, 365)
	h.record("vault", seen(c, tallystick.RolePresents, "/srv/mail-sync/client.pem"), seen(keyOf(c), tallystick.RoleHolds, "/srv/mail-sync/client.key"))
	thumbprint := sha1.Sum(c.Raw)
	week := usesOfWeek{certificate: "x5t:" + hex.EncodeToString(thumbprint[:])}
	for _, s := range []store.Source{
		{Name: "mail-sync-eu-1", Kind: store.SourceHTTP, Side: tallystick.SideHolder, Silence: time.Hour, Heard: testNow},
		{Name: "backup-agent", Kind: store.SourceFile, Side: tallystick.SideHolder, Silence: time.Hour, Path: "/var/log/backup/uses.ndjson"},
		{Name: "entra", Kind: store.SourceDirectory, Side: tallystick.SideRelying, Format: "entra-signin", Silence: 6 * time.Hour},
		{Name: "dc1", Kind: store.SourceFile, Side: tallystick.SideRelying, Format: "openldap", Silence: 6 * time.Hour},
	} {
		s.Created, s.CreatedBy = testNow.AddDate(0, 0, -8), "ada"
		added, err := h.db.AddSource(h.Context(), s)
		if err != nil {
			h.Fatal(err)
		}
		if s.Name == "dc1" {
			err = h.db.AdvanceSource(h.Context(), added.ID, store.SourceProgress{
				Heard: testNow, Malformed: 3, Wrong: []string{"/var/log/slapd.log:10412: the line ends in the middle", "/var/log/slapd.log:9: no time"},
			})
		}
		if err != nil {
			h.Fatal(err)
		}
	}
	for hour := testNow.AddDate(0, 0, -7); hour.Before(testNow); hour = hour.Add(time.Hour) {
		end := hour.Add(time.Hour)
		h.at(end)
		h.tell(week.hour(hour, end))
	}
	h.at(testNow)
	h.settle()
	return c
}

// tell puts uses into the ledger and before the tally.
func (h *house) tell(batch ledger.Batch) {
	h.Helper()
	if _, err := h.watch.Append(h.Context(), "", batch, nil); err != nil {
		h.Fatal(err)
	}
}

// settle has the tally settle what it can.
func (h *house) settle() {
	h.Helper()
	if err := h.watch.Finish(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// usesOfWeek makes the records of both sides.
type usesOfWeek struct {
	certificate string
	n           int
}

// hour returns what all books have of an hour.
func (w *usesOfWeek) hour(from, to time.Time) ledger.Batch {
	var b ledger.Batch
	rhythm := 8 + int(7*math.Sin(float64(from.Hour()-8)*math.Pi/12))
	for i := range rhythm {
		at := from.Add(time.Duration(i)*time.Hour/time.Duration(rhythm) + time.Second)
		w.both(&b, at, fmt.Sprintf("entra:customer-%d.example/graph", 1+w.n%7), w.certificate, "mail-sync-eu-1", "entra", "203.0.113.7")
	}
	silent := !to.Before(testNow.Add(-9 * time.Hour))
	if from.Hour()%3 == 0 {
		w.both(&b, from.Add(20*time.Minute), "ldap:dc1.example.net:636", backupAccount, "backup-agent", "dc1", "10.0.4.20")
		if silent { // its holder says nothing any more
			b.Uses = slices.DeleteFunc(b.Uses, func(u tallystick.Use) bool { return u.Source == "backup-agent" })
		}
	}
	switch before := testNow.Sub(from); before {
	case 30 * time.Hour, 29 * time.Hour:
		for i := range 7 {
			w.foreign(&b, from.Add(time.Duration(i)*4*time.Minute+30*time.Second), fmt.Sprintf("entra:customer-%d.example/graph", 2+i%4), i)
		}
	case 100 * time.Hour:
		w.one(&b, "mail-sync-eu-1", tallystick.SideHolder, from.Add(50*time.Minute), "entra:customer-3.example/graph", w.certificate, "203.0.113.7")
	}
	mark := func(source string, side tallystick.Side, closed time.Time) {
		b.Marks = append(b.Marks, ledger.Mark{ClosingMark: tallystick.ClosingMark{Source: source, Side: side, Closed: closed}})
	}
	mark("mail-sync-eu-1", tallystick.SideHolder, to.Add(-10*time.Minute))
	mark("entra", tallystick.SideRelying, to.Add(-4*time.Minute))
	mark("dc1", tallystick.SideRelying, to.Add(-time.Minute))
	if !silent {
		mark("backup-agent", tallystick.SideHolder, to)
	}
	return b
}

// both adds a use that each side has recorded.
func (w *usesOfWeek) both(b *ledger.Batch, at time.Time, party, name, holder, relying, address string) {
	w.n++
	uti := fmt.Sprintf("token-%d", w.n)
	for _, side := range []struct {
		source string
		side   tallystick.Side
		late   time.Duration
	}{{holder, tallystick.SideHolder, 0}, {relying, tallystick.SideRelying, 400 * time.Millisecond}} {
		u := w.one(b, side.source, side.side, at.Add(side.late), party, name, address)
		if holder == "mail-sync-eu-1" {
			u.IDs.UTI, u.Level = uti, tallystick.LevelToken
		}
	}
}

// foreign adds a use by a thief.
func (w *usesOfWeek) foreign(b *ledger.Batch, at time.Time, party string, i int) {
	u := w.one(b, "entra", tallystick.SideRelying, at, party, w.certificate, []string{thiefAddress, "2001:db8:bad::7"}[i%2])
	u.IDs.UTI, u.IDs.Correlation, u.Level, u.Agent = fmt.Sprintf("stolen-%d", w.n), "0b6f7e2c-1111-4222-8333-944455566677", tallystick.LevelToken, "python-requests/2.32"
	u.Operation, u.Resource = "sign-in", "Microsoft Graph"
}

// one adds a record.
func (w *usesOfWeek) one(b *ledger.Batch, source string, side tallystick.Side, at time.Time, party, name, address string) *tallystick.Use {
	w.n++
	b.Uses = append(b.Uses, tallystick.Use{
		ID: fmt.Sprintf("%s-%d", source, w.n), Source: source, Side: side, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Credential: []string{name}, RelyingParty: party, Outcome: tallystick.OutcomeSuccess, Address: address,
	})
	return &b.Uses[len(b.Uses)-1]
}

// SPDX-License-Identifier: Apache-2.0

package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
)

// A book records in memory, or fails.
type book struct {
	records []audit.Record
	err     error
}

func (b *book) Append(_ context.Context, r audit.Record) error {
	if b.err == nil {
		b.records = append(b.records, r)
	}
	return b.err
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func now() time.Time { return noon }

// The whole of who may do what. A change of a line here is a change of policy.
func TestPolicy(t *testing.T) {
	const want = `
read-inventory   viewer operator admin  quiet
read-metrics     viewer operator admin  quiet
read-uses        viewer operator admin  quiet
read-credential  viewer operator admin
export           viewer operator admin
sign-in          viewer operator admin
sign-out         viewer operator admin
read-raw         operator admin
annotate         operator admin
accept-finding   operator admin
assign-finding   operator admin
start-run        operator admin
cancel-run       operator admin
expect-change    operator admin
undo-change      admin
read-audit       admin
read-access      admin
manage-access    admin
read-sources     viewer operator admin  quiet
manage-sources   admin
issue-certificate client viewer operator admin
revoke-certificate operator admin
revoke-own-certificate client viewer operator admin
approve-request  operator admin
recall-certificate operator admin
read-authorities viewer operator admin  quiet
manage-authorities admin
read-custody     admin
manage-custody   admin
manage-renewals  operator admin
manage-delivery  admin
launch-rocket
`
	var got strings.Builder
	got.WriteByte('\n')
	for _, action := range []gate.Action{gate.ReadInventory, gate.ReadMetrics, gate.ReadUses, gate.ReadCredential, gate.Export,
		gate.SignIn, gate.SignOut, gate.ReadRaw, gate.Annotate, gate.AcceptFinding, gate.AssignFinding, gate.StartRun,
		gate.CancelRun, gate.ExpectChange, gate.UndoChange, gate.ReadAudit, gate.ReadAccess, gate.ManageAccess, gate.ReadSources, gate.ManageSources,
		gate.IssueCertificate, gate.RevokeCertificate, gate.RevokeOwnCertificate, gate.ApproveRequest, gate.RecallCertificate, gate.ReadAuthorities, gate.ManageAuthorities, gate.ReadCustody, gate.ManageCustody, gate.ManageRenewals, gate.ManageDelivery, "launch-rocket"} {
		var b book
		g := gate.New(&b, now)
		var allowed []string
		for _, role := range []gate.Role{-1, gate.Nobody, gate.Client, gate.Viewer, gate.Operator, gate.Admin, gate.Admin + 1} {
			err := g.Check(t.Context(), gate.Actor{Name: "ada", Role: role}, action, "x")
			if err == nil {
				allowed = append(allowed, role.String())
			}
		}
		quiet := ""
		if len(b.records) < 6 {
			quiet = "  quiet"
		}
		fmt.Fprintln(&got, strings.TrimRight(fmt.Sprintf("%-16s %s%s", action, strings.Join(allowed, " "), quiet), " "))
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestDecisionsAreRecorded(t *testing.T) {
	var b book
	g := gate.New(&b, now)
	ada := gate.Actor{Name: "ada", Role: gate.Viewer, Via: "session"}
	if err := g.Check(t.Context(), ada, gate.Export, "credentials"); err != nil {
		t.Error(err)
	}
	if err := g.Check(t.Context(), ada, gate.StartRun, "files"); !errors.Is(err, tallystick.ErrDenied) {
		t.Error(err)
	}
	if err := g.Check(t.Context(), ada, gate.ReadInventory, "credentials"); err != nil {
		t.Error(err)
	}
	if err := g.Check(t.Context(), gate.Actor{Role: gate.Admin}, gate.ReadInventory, "credentials"); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Error(err)
	}
	want := []audit.Record{
		{Time: noon, Actor: "ada", Role: "viewer", Via: "session", Action: "export", Object: "credentials", Allowed: true},
		{Time: noon, Actor: "ada", Role: "viewer", Via: "session", Action: "start-run", Object: "files",
			Detail: "not allowed: start-run needs the role operator and ada has viewer"},
		{Time: noon, Role: "admin", Action: "read-inventory", Object: "credentials", Detail: "read-inventory: not signed in"},
	}
	if diff := cmp.Diff(want, b.records); diff != "" {
		t.Error(diff)
	}
}

// What cannot be recorded is not allowed.
func TestFailsClosed(t *testing.T) {
	g := gate.New(&book{err: tallystick.ErrNoSpace}, now)
	err := g.Check(t.Context(), gate.Local("root"), gate.Export, "credentials")
	if !errors.Is(err, tallystick.ErrNoSpace) {
		t.Error(err)
	}
	err = g.Check(t.Context(), gate.Actor{Name: "ada", Role: gate.Viewer}, gate.StartRun, "files")
	if !errors.Is(err, tallystick.ErrNoSpace) || !errors.Is(err, tallystick.ErrDenied) {
		t.Error(err)
	}
}

// Strangers cannot fill the log, and what was left out is counted.
func TestStrangersAreCounted(t *testing.T) {
	var b book
	clock := noon
	g := gate.New(&b, func() time.Time { return clock })
	refuse := func() {
		reason := fmt.Errorf("%w: no such link", tallystick.ErrUnsigned)
		if err := g.Refuse(t.Context(), gate.Actor{Via: "link"}, gate.SignIn, "", reason); err != reason {
			t.Error(err)
		}
	}
	for range 100 {
		refuse()
	}
	if err := g.Check(t.Context(), gate.Local("root"), gate.Export, "x"); err != nil || len(b.records) != 31 {
		t.Errorf("%d records, %v", len(b.records), err)
	}
	clock = clock.Add(time.Minute)
	refuse()
	refuse()
	if detail := b.records[31].Detail; len(b.records) != 33 || !strings.Contains(detail, "70 more") {
		t.Errorf("%d records, the 32nd says %q", len(b.records), detail)
	}
	if detail := b.records[32].Detail; strings.Contains(detail, "more") {
		t.Errorf("the 33rd says %q", detail)
	}
}

// Strangers who make a noise do not hide that somebody used a secret that is
// known and no longer good.
func TestStrangersHideNobody(t *testing.T) {
	var b book
	clock := noon
	g := gate.New(&b, func() time.Time { return clock })
	refuse := func(who gate.Actor) {
		t.Helper()
		if err := g.Refuse(t.Context(), who, gate.SignIn, "", tallystick.ErrUnsigned); err != tallystick.ErrUnsigned {
			t.Error(err)
		}
	}
	stolen := gate.Actor{Name: "backup", Via: "token 7"}
	for i := range 100 {
		refuse(gate.Actor{Via: fmt.Sprint("link ", i)})
	}
	refuse(stolen)
	refuse(gate.Actor{Name: "backup", Via: "token 8"})
	if len(b.records) != 32 || b.records[30].Via != "token 7" || b.records[31].Via != "token 8" {
		t.Fatalf("%d records, the last is %+v", len(b.records), b.records[len(b.records)-1])
	}
	for range 99 { // nor can whoever has it fill the disk
		refuse(stolen)
	}
	if len(b.records) != 32+29 {
		t.Errorf("%d records", len(b.records))
	}
	clock = clock.Add(time.Minute)
	refuse(stolen)
	if r := b.records[len(b.records)-1]; r.Actor != "backup" || !strings.Contains(r.Detail, "70 more") {
		t.Errorf("the remainder is %+v", r)
	}
}

func TestRoleText(t *testing.T) {
	for _, role := range []gate.Role{gate.Viewer, gate.Operator, gate.Admin} {
		got, err := gate.ParseRole(role.String())
		if err != nil || got != role {
			t.Errorf("%s: %v, %v", role, got, err)
		}
	}
	for _, word := range []string{"", "nobody", "Admin", "root"} {
		if role, err := gate.ParseRole(word); !errors.Is(err, tallystick.ErrInvalid) || role != gate.Nobody {
			t.Errorf("%q: %v, %v", word, role, err)
		}
	}
}

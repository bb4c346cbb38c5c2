// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tries"
)

// away is an administrator who is not at the machine.
var away = gate.Actor{Name: "ada", Role: gate.Admin, Via: "token"}

const reader = "0f0e0d0c-0000-4000-8000-000000000001"

// tenant is a source of a tenant; options come in pairs.
func tenant(n int, options ...string) store.Source {
	one := store.Source{
		Name: fmt.Sprintf("m365-%d", n), Kind: store.SourceDriver, Side: tallystick.SideRelying, Driver: "entra",
		Options: map[string]string{"tenant": fmt.Sprintf("8f1c2f0e-5b0a-4f0e-9d0a-%012d", n)},
	}
	for i := 0; i < len(options); i += 2 {
		one.Options[options[i]] = options[i+1]
	}
	return one
}

func tenantsHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.Drivers = []driver.Driver{entra.Driver()}
	return h
}

// denied checks that somebody who is away may not add a source.
func (h *house) denied(one store.Source) {
	h.Helper()
	_, _, err := h.Add(h.Context(), away, one, "")
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(problem.Of(err).Hint, "tally source add") {
		h.Errorf("%v: %v", one.Options, err)
	}
	if _, err := h.AddEach(h.Context(), away, []store.Source{one}); !errors.Is(err, tallystick.ErrDenied) {
		h.Errorf("many, %v: %v", one.Options, err)
	}
}

func TestWhoIsAwayNamesNoFileAndNoHost(t *testing.T) {
	t.Parallel()
	h := tenantsHouse(t)
	for _, options := range [][]string{
		{"application", reader, "credential", "/etc/shadow"},
		{"application", reader, "secret", "/etc/shadow"},
		{"login", "https://login.attacker.test"},
		{"graph", "https://169.254.169.254"},
		{"ca", "/tmp/ca.pem"},
	} {
		h.denied(tenant(1, options...))
	}
	list, err := h.DB.Sources(t.Context())
	must(t, err)
	if len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestWhoIsAwayMayNameWhatIsNamedAtTheMachine(t *testing.T) {
	t.Parallel()
	h := tenantsHouse(t)
	same := []string{"application", reader, "credential", "/etc/tally/watch.pem"}
	h.denied(tenant(2, same...))
	h.add(tenant(1, same...))
	_, _, err := h.Add(t.Context(), away, tenant(2, append(same, "logs", "sign-ins", "every", "1m", "login", "https://login.microsoftonline.com")...), "")
	must(t, err)
	// The credential of one comes to the host of no other.
	h.add(tenant(3, "application", reader, "secret", "/etc/tally/other", "login", "https://login.microsoftonline.us"))
	h.denied(tenant(4, append(same, "login", "https://login.microsoftonline.us")...))
	h.denied(tenant(4, "application", reader))
}

func TestWhoIsAwayMayNameWhatTheConfigurationNames(t *testing.T) {
	t.Parallel()
	h := tenantsHouse(t)
	h.Named = []Named{{"entra", map[string]string{"tenant": "another", "application": reader, "credential": "/etc/tally/door.pem"}}}
	_, _, err := h.Add(t.Context(), away, tenant(1, "application", reader, "credential", "/etc/tally/door.pem"), "")
	must(t, err)
	h.denied(tenant(2, "application", reader, "credential", "/etc/tally/door.key"))
}

func TestTheRecordOfAnAdditionHasItsOptions(t *testing.T) {
	t.Parallel()
	h := tenantsHouse(t)
	h.add(tenant(1, "application", reader, "credential", "/etc/tally/watch.pem"))
	if _, _, err := h.Add(t.Context(), away, tenant(2, "ca", "/tmp/ca.pem"), ""); !errors.Is(err, tallystick.ErrDenied) {
		t.Error(err)
	}
	if _, _, err := h.Add(t.Context(), admin, tenant(3, "password", "sesame"), ""); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
	records, err := h.audit.List(t.Context(), audit.Filter{}, 0, 10)
	must(t, err)
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprintf("%t %s", r.Allowed, r.Object))
	}
	want := []string{ // the newest first
		`true add m365-3, driver entra password tenant="8f1c2f0e-5b0a-4f0e-9d0a-000000000003"`,
		`false add m365-2, driver entra ca="/tmp/ca.pem" tenant="8f1c2f0e-5b0a-4f0e-9d0a-000000000002"`,
		`true add m365-2, driver entra ca="/tmp/ca.pem" tenant="8f1c2f0e-5b0a-4f0e-9d0a-000000000002"`,
		`true add m365-1, driver entra application="` + reader + `" credential="/etc/tally/watch.pem" tenant="8f1c2f0e-5b0a-4f0e-9d0a-000000000001"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOwnBooksAreNoSources(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{tries.Book, "Tallystick-Recalls", OwnPrefix + "x"} {
		_, _, err := h.Add(t.Context(), admin, store.Source{Name: name, Kind: store.SourceHTTP, Side: tallystick.SideHolder}, "")
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(problem.Of(err).Hint, "Choose another") {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.add(store.Source{Name: "tallystick", Kind: store.SourceHTTP, Side: tallystick.SideHolder})
}

// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// meanwhile has somebody else act before reads of the application, by their numbers from 1;
// patched says whether a PATCH came before.
func (e *estate) meanwhile(act func(read int, patched bool)) {
	var mu sync.Mutex
	read, patched := 0, false
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case a.Method == http.MethodPatch:
				patched = true
			case a.Method == http.MethodGet && strings.Contains(a.Path, "/applications"):
				read++
				act(read, patched)
			}
			return nil
		}
	})
}

// Who adds keys while a PATCH is made ready loses none.
func TestKeysThatAreAddedMeanwhile(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, next := e.administered(t, "Application.ReadWrite.All"), material(t, e.pki, "vendor 2")
	theirs := []driver.Material{material(t, e.pki, "a"), material(t, e.pki, "b"), material(t, e.pki, "c")}
	e.meanwhile(func(read int, patched bool) {
		if read <= len(theirs) && !patched {
			if _, err := e.tenant.AddCertificate(e.app.Application, theirs[read-1].Chain[0]); err != nil {
				t.Error(err)
			}
		}
	})
	changed, err := trust(t.Context(), d, next, e.old, false)
	want(t, "trust", changed, err, true)
	view := look(t, d)
	for _, m := range append(theirs, next, e.old) {
		if !accepts(view, m) {
			t.Errorf("%s is lost", m)
		}
	}
}

// A key of others that is gone after a PATCH is told loudly, and not brought back: its owner
// may have removed it.
func TestKeysThatAreLost(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, theirs := e.administered(t, "Application.ReadWrite.All"), material(t, e.pki, "theirs")
	key, err := e.tenant.AddCertificate(e.app.Application, theirs.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	e.meanwhile(func(_ int, patched bool) {
		if patched {
			e.tenant.RemoveCredential(e.app.Application, key.KeyID)
		}
	})
	_, err = trust(t.Context(), d, material(t, e.pki, "vendor 2"), e.old, false)
	if !errors.Is(err, tallystick.ErrConflict) || !strings.Contains(err.Error(), key.KeyID) {
		t.Errorf("it says %v", err)
	}
}

// Somebody else's PATCH may take away what ours has added: that is not called done.
func TestAChangeThatIsUndone(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	next := material(t, e.pki, "vendor 2")
	d := e.open(t, map[string]string{"patience": "1s"})
	e.meanwhile(func(read int, _ bool) {
		for _, k := range e.app.Application.State().Keys {
			if string(k.DER()) == string(next.Chain[0]) {
				e.tenant.RemoveCredential(e.app.Application, k.KeyID)
			}
		}
	})
	if _, err := trust(t.Context(), d, next, e.old, false); !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "does not show") {
		t.Errorf("it says %v", err)
	}
}

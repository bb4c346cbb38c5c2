// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/uses"
)

// A taker collects what a log says.
type taker struct {
	uses    []string
	changes []tallystick.Change
}

func (k *taker) Use(u *tallystick.Use) {
	k.uses = append(k.uses, u.Time.Format(time.TimeOnly)+" "+u.Operation+" "+u.Credential[0]+" "+u.Resource)
}
func (k *taker) Close(tallystick.ClosingMark) {}
func (k *taker) Lost(*tallystick.Use)         {}
func (k *taker) Change(c *tallystick.Change)  { k.changes = append(k.changes, uses.KeepChange(c)) }

// read reads a file; every record of it must be understood.
func (k *taker) read(t *testing.T, path string) {
	t.Helper()
	log, err := uses.Open(path, "", uses.Settings{Side: tallystick.SideRelying}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	read := log.Reader()
	err = log.Blocks(func(b *uses.Block) error {
		b.Each(func(record string, _ int64, line int) {
			if err := read(record, k); err != nil {
				t.Errorf("%s, line %d: %v", path, line, err)
			}
		})
		return nil
	}, func(line int, err error) { t.Errorf("%s, line %d: %v", path, line, err) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestGoldenSAML reads the recordings of a real attack: GoldenSAMLADFSMailAccess
// of Security-Datasets (Open Threat Research Forge, MIT licence beside the files).
// An intruder reads the token-signing key of AD FS and the key that it is
// encrypted under, gives an application a permission over mail and a secret, and
// reads mail. Of 38 Windows events, 4 audit records and one of Office these are
// the findings, each once: the logons, and the second copy of a record, give none.
func TestGoldenSAML(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	d := newDirectory(t, db)
	var k taker
	for _, name := range []string{"WindowsEvents.json", "AADAuditEvents.json", "OfficeActivityEvents.json"} {
		k.read(t, filepath.Join("../uses/testdata/otrf", name))
	}
	// Whatever the order, and however often it is told.
	slices.Reverse(k.changes)
	for range 2 {
		for _, c := range k.changes {
			take(t, d, c)
		}
	}
	page, _, err := db.AccessChanges(t.Context(), store.AccessFilter{}, store.PageRequest{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, c := range slices.Backward(page.Items) {
		changes = append(changes, c.Time.Format(time.TimeOnly)+" "+string(c.Kind)+" "+c.Operation+" "+c.Actor)
	}
	want := []string{
		"13:05:33 key-read 33205 account:ad/simulandlabs/wardog",
		"13:09:20 key-read 412 ",
		"13:11:39 key-read 4662 account:ad/simulandlabs/wardog",
		"13:11:39 key-read 4662 account:ad/simulandlabs/wardog",
		"13:11:53 key-read 4662 account:ad/simulandlabs/wardog",
		"13:13:11 key-read 4662 account:ad/simulandlabs/wardog",
		"13:13:11 key-read 4662 account:ad/simulandlabs/wardog",
		"13:25:12 setting Update application account:entra-user/pgustavo@simulandlabs.com",
		"13:27:20 grant-added Add delegated permission grant account:entra-user/pgustavo@simulandlabs.com",
		"13:29:25 credential-added Update application \u2013 Certificates and secrets management account:entra-user/pgustavo@simulandlabs.com",
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"13:32:07 MailItemsAccessed account:entra-app/5a95e683-08ad-424e-a441-1d1aec52c02c pgustavo@simulandlabs.com"}, k.uses); diff != "" {
		t.Error(diff)
	}
	const tenant = "00000000-0000-0000-0000-000000000000"
	want = []string{
		"critical change-signing-key-read ad:simulandlabs.com/9736f74f-fd37-4b02-80e8-8120a72ad6c2",
		"critical change-signing-key-read adfs:adfs01.simulandlabs.com/configuration",
		"high change-credential-added entra-app:" + tenant + "/11b49e19-2326-4be6-93cb-7f37439bbd81",
		"high change-high-grant entra-app:" + tenant + "/0d2f5969-011b-460d-ac74-3291d227d49f",
		"medium change-signing-key-read adfs:adfs01.simulandlabs.com/synchronisation",
	}
	if diff := cmp.Diff(want, findings(t, db)); diff != "" {
		t.Error(diff)
	}
}

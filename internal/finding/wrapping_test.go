// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/rules"
)

// A wrapping key that secrets are under is judged as time goes by, and no longer when they are under another one.
func TestWrappingKeysAreJudged(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, rules.All()...)
		dir := t.TempDir()
		file := func(name string) *custody.FileKey {
			t.Helper()
			w, err := custody.OpenFile(filepath.Join(dir, name), "", "", true)
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		first := file("first")
		c, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: first, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Put(t.Context(), custody.Owner{Kind: "ca", Name: "lab"}, []byte("a secret")); err != nil {
			t.Fatal(err)
		}
		found := func() []string {
			t.Helper()
			if err := e.JudgeWrappings(t.Context()); err != nil {
				t.Fatal(err)
			}
			page, _, err := e.List(t.Context(), admin, store.FindingFilter{}, store.PageRequest{})
			if err != nil {
				t.Fatal(err)
			}
			list := []string{}
			for _, f := range page.Items {
				list = append(list, fmt.Sprintf("%s %s at %s: %s", f.Severity, f.Rule, f.Place, f.Evidence))
			}
			return list
		}
		check := func(when string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(append([]string{}, want...), found()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		check("a new one")
		old := fmt.Sprintf("medium wrapping-key-weak at %s: 32 random bytes in a file: it has been in use for more than two years: rewrap to a new key", finding.WrappingPlace(first.Identity().ID))
		now = noon.AddDate(2, 0, 1)
		check("after two years", old)
		check("a minute later", old)
		// A token comes into use, and the secrets stay where they are.
		token := store.WrappingKey{ID: "pkcs11:9c01d2", Kind: custody.KindPKCS11, About: "a token", Parameters: "{}", Since: now}
		if err := db.AddWrappingKey(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		left := fmt.Sprintf("medium wrapping-key-left-in-software at %s: secrets are under it, which is 32 random bytes in a file, and pkcs11:9c01d2 is in use", finding.WrappingPlace(first.Identity().ID))
		check("beside a token", left, old)
		if err := c.Rewrap(t.Context(), file("second"), func(int, int) {}); err != nil {
			t.Fatal(err)
		}
		check("under another one")
	})
}

// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
)

func TestADataKeyIsOfOneOwner(t *testing.T) {
	db, _ := sqliteStore(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: fileKey(t)})
	acme := custody.Owner{Kind: "customer-key", Name: "vault/acme"}
	made, err := c.NewDataKey(t.Context(), acme)
	if err != nil || !made.Fresh {
		t.Fatal(made, err)
	}
	sealed, err := made.Seal([]byte("the text"), []byte("about it"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := c.OpenDataKey(t.Context(), made.ID, acme)
	if err != nil || !opened.Fresh {
		t.Fatal(opened, err)
	}
	if text, err := opened.Open(sealed, []byte("about it")); err != nil || !bytes.Equal(text, []byte("the text")) {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := opened.Open(sealed, []byte("about something else")); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error(err)
	}
	if _, err := c.OpenDataKey(t.Context(), made.ID, custody.Owner{Kind: "customer-key", Name: "vault/initech"}); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error("the key of another:", err)
	}
	if err := c.Rewrap(t.Context(), fileKey(t), nil); err != nil {
		t.Fatal(err)
	}
	if opened, err = c.OpenDataKey(t.Context(), made.ID, acme); err != nil || opened.Fresh {
		t.Error("it was under another wrapping key:", opened, err)
	}
	if ready, err := c.Ready(t.Context()); err != nil || len(ready) != 2 {
		t.Error(ready, err)
	}
}

func TestWhatIsWeakAboutAWrappingKey(t *testing.T) {
	const strong = `{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":3,"memory":65536,"threads":4}`
	const cheap = `{"kdf":"argon2id","salt":"00112233445566778899aabbccddeeff","time":2,"memory":19456,"threads":1}`
	for name, row := range map[string]struct {
		key  store.WrappingKey
		weak int
	}{
		"a file":                {store.WrappingKey{Kind: custody.KindFile, Since: noon}, 0},
		"an old file":           {store.WrappingKey{Kind: custody.KindFile, Since: noon.AddDate(-3, 0, 0)}, 1},
		"an old one, retired":   {store.WrappingKey{Kind: custody.KindFile, Since: noon.AddDate(-3, 0, 0), Retired: noon.Add(-time.Hour)}, 0},
		"a passphrase":          {store.WrappingKey{Kind: custody.KindPassphrase, Since: noon, Parameters: strong}, 0},
		"a cheap passphrase":    {store.WrappingKey{Kind: custody.KindPassphrase, Since: noon, Parameters: cheap}, 1},
		"a passphrase of chaos": {store.WrappingKey{Kind: custody.KindPassphrase, Since: noon, Parameters: "{}"}, 1},
	} {
		if got := custody.StrengthOf(row.key, noon); len(got.Weak) != row.weak || got.Origin == "" || got.Algorithm == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

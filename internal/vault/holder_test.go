// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"fmt"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A holder whom nobody knows, or who is not let in any more, is doubted; others are not.
func TestHoldersThatAreDoubted(t *testing.T) {
	f := newVault(t, "")
	token := func(life time.Duration) store.Token {
		one, err := f.db.AddToken(t.Context(), fmt.Sprint("hash of ", life), store.Token{Name: "sync", Role: gate.Client.String(), Created: f.now(), Expires: f.now().Add(life)})
		f.must(err)
		return one
	}
	good, revoked, expired := token(time.Hour), token(2*time.Hour), token(time.Minute)
	f.must(f.db.RevokeToken(t.Context(), revoked.ID, f.now()))
	f.must(f.db.AddLink(t.Context(), store.NewLink{Hash: "hash of a link", Person: store.Person{Name: "ada", Role: gate.Admin.String(), Created: f.now()}, Expires: f.now().Add(time.Hour)}))
	f.later(2 * time.Minute)
	me, err := user.Current()
	f.must(err)
	for holder, want := range map[string]string{
		"": "", fmt.Sprint("token:", good.ID): "", fmt.Sprint("token:", revoked.ID): "was revoked", fmt.Sprint("token:", expired.ID): "has expired",
		"token:999999": "there is no API token with the id 999999", "token:ada": "there is no API token with the id ada",
		"person:ada": "", "person:eve": "there is nobody called eve", "local:" + me.Username: "", "local:nobody-of-that-name": "this machine has no user nobody-of-that-name",
	} {
		why, err := f.Doubt(t.Context(), holder)
		if err != nil || (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, %v; want %q", holder, why, err, want)
		}
	}
}

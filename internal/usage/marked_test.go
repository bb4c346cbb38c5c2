// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/usage"
)

// Who tries an old password is found by its mark, at its account and from then on.
func TestMarked(t *testing.T) {
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: func() time.Time { return noon }})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	u := &usage.Usage{Ledger: book, Now: func() time.Time { return noon }}
	use := func(account, detail, address string, minutes int) tallystick.Use {
		return tallystick.Use{
			Source: "dovecot", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: noon.Add(time.Duration(minutes) * time.Minute), Count: 1,
			Credential: []string{account}, RelyingParty: "imap:mail:993", Outcome: tallystick.OutcomeAttempt, Detail: detail, Address: address,
		}
	}
	_, err = book.Append(t.Context(), ledger.Batch{Uses: []tallystick.Use{
		use("account:mail/alice", "auth failed; wrong password sha1:76272d", "192.0.2.1", -50),
		use("account:mail/alice", "auth failed; wrong password sha1:111111 sha1:76272d", "192.0.2.2", -20),
		use("account:mail/Alice", "wrong password sha1:76272d", "192.0.2.3", -10),
		use("account:mail/alice", "auth failed; wrong password sha1:76272dff", "192.0.2.4", -5),
		use("account:mail/bob", "auth failed; wrong password sha1:76272d", "192.0.2.5", -4),
		use("account:mail/alice", "auth failed", "192.0.2.6", -3),
	}})
	must(t, err)
	answers, err := u.Marked(t.Context(), []usage.MarkedQuestion{
		{Names: []string{"account:mail/alice", "account:ldap/uid=alice"}, Mark: "sha1:76272d", Since: noon.Add(-30 * time.Minute)},
		{Names: []string{"account:mail/carol"}, Mark: "sha1:76272d", Since: noon.Add(-time.Hour)},
		{Names: []string{"account:mail/alice"}, Mark: "sha1:111111", Since: noon.Add(-time.Hour)},
		{Mark: "sha1:76272d"},
	})
	must(t, err)
	var got []string
	var times []int64
	for _, a := range answers {
		got, times = append(got, a.Address), append(times, a.Times)
	}
	if d := cmp.Diff([]string{"192.0.2.3", "", "192.0.2.2", ""}, got) + cmp.Diff([]int64{2, 0, 1, 0}, times); d != "" {
		t.Error(d)
	}
}

// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/rule"
)

// A survey is told what the endpoints show as their own, by the names.
func TestSurveyHearsWhatIsShown(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		var heard []string
		survey := rule.Rule{Name: "survey", Survey: func(ctx context.Context, estate rule.Estate, _ func(rule.Hit) error) error {
			source, ok := estate.(rule.Shows)
			if !ok {
				return errors.New("the estate does not know what is shown")
			}
			return source.EachShown(ctx, func(l rule.Shown) error {
				c := l.Certificate
				heard = append(heard, fmt.Sprint(l.Place, " ", l.Address, " ", c.Names, c.Subject, c.Key.Algorithm, c.NotBefore.Equal(noon.AddDate(0, -1, 0))))
				return nil
			})
		}}
		e := engine(t, db, &now, survey)
		showing := func(place tallystick.Place, position int, names ...string) tallystick.Sighting {
			var none *authority
			_, c := none.certificate(t, "leaf", false, noon)
			c.Names = names
			s := at(c, place, tallystick.RolePresents)
			s.TLS = &tallystick.TLSFacts{Address: "192.0.2.9", Position: position}
			return s
		}
		plain := showing("tls://b.example:443", 0, "a.example")
		file := plain
		file.Place, file.TLS = "file:///a.pem", nil
		record(t, db, "files", file, plain, showing("tls://c.example:443", 0, "c.example"), showing("tls://a.example:443", 0, "a.example"),
			showing("tls://d.example:443", 0), showing("tls://e.example:443", 1, "e.example"))
		if err := e.Survey(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"tls://a.example:443 192.0.2.9 [a.example]CN=leafecdsa-p256true",
			"tls://b.example:443 192.0.2.9 [a.example]CN=leafecdsa-p256true",
			"tls://c.example:443 192.0.2.9 [c.example]CN=leafecdsa-p256true",
		}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

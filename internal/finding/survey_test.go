// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/rule"
)

// A survey keeps values while it walks over the keys, and finds them the next time.
func TestSurveyKeeps(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		var found []string
		survey := rule.Rule{Name: "survey", Survey: func(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
			return estate.Keys(ctx, "", func(use rule.KeyUse) error {
				before, err := estate.Kept(ctx, "survey/key")
				if err != nil {
					return err
				}
				found = append(found, string(before))
				return estate.Keep(ctx, "survey/key", []byte(use.Key.ID))
			})
		}}
		e := engine(t, db, &now, survey)
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon)
		record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents))
		for range 2 {
			if err := e.Survey(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]string{"", string(c.Key.ID)}, found); diff != "" {
			t.Errorf("kept (-), found (+):\n%s", diff)
		}
	})
}

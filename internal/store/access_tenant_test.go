// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// Graph's directoryAudit names no tenant; what was announced with one is about
// the same object.
func TestAnExpectationCoversRecordsWithoutATenant(t *testing.T) {
	const tenant, object = "3f0a7c52-9c1e-4b7a-8a51-0c6d5d2f7b11", "11b49e19-2326-4be6-93cb-7f37439bbd81"
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, target := range []string{"entra-app:" + tenant + "/" + object, "entra-domain:" + tenant + "/lab.example", "adfs:fs1/configuration"} {
			if _, err := db.ExpectAccessChange(t.Context(), store.AccessExpectation{Target: target, Since: changedAt, Until: changedAt.Add(time.Hour), By: "ada", Reason: "renewal"}); err != nil {
				t.Fatal(err)
			}
		}
		for target, expected := range map[string]bool{
			"entra-app:/" + object:                                     true,
			"entra-app:" + tenant + "/" + object:                       true,
			"entra-domain:/lab.example":                                true,
			"entra-app:/11b49e19-2326-4be6-93cb-7f37439bbd82":          false,
			"entra-grant:/" + object:                                   false,
			"entra-app:3f0a7c52-9c1e-4b7a-8a51-0c6d5d2f7b12/" + object: false,
			"entra-app:/%":                                             false,
			"entra-app:/" + object[:35] + "_":                          false,
			"entra-app:/":                                              false,
			"adfs:/configuration":                                      false,
			"entra-domain:/example":                                    false,
			"entra-app:/x/" + object:                                   false,
		} {
			c := accessChange(target, changedAt.Add(time.Minute))
			c.Target = target
			list, err := db.RecordAccessChanges(t.Context(), []tallystick.Change{c})
			if err != nil || len(list) != 1 || (list[0].Expected != "") != expected {
				t.Errorf("%s: %+v %v", target, list, err)
			}
		}
	})
}

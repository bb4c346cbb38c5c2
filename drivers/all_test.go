// SPDX-License-Identifier: Apache-2.0

package drivers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/config"
)

// The examples of docs/issuers.md are good configurations, and there is one of
// every driver that issues.
func TestExamplesOfIssuers(t *testing.T) {
	page, err := os.ReadFile("../docs/issuers.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		path := filepath.Join(t.TempDir(), "tally.yaml")
		if err := os.WriteFile(path, block[1], 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, func(string) string { return t.TempDir() })
		if err != nil {
			t.Fatalf("%v in\n%s", err, block[1])
		}
		for _, issuer := range c.Issuers {
			shown[issuer.Driver] = true
			options := map[string]string{}
			for name, value := range issuer.Options {
				options[name] = value.Reveal()
			}
			if _, err := driverOf(t, issuer.Driver).Open(options); err != nil {
				t.Errorf("issuer %s: %v", issuer.Name, err)
			}
		}
	}
	for _, d := range drivers.All() {
		if slices.Contains(d.Verbs(), "issue") && !shown[d.Name()] {
			t.Errorf("docs/issuers.md has no example of the driver %s", d.Name())
		}
	}
}

func driverOf(t *testing.T, name string) driver.Driver {
	t.Helper()
	all := drivers.All()
	i := slices.IndexFunc(all, func(d driver.Driver) bool { return d.Name() == name })
	if i < 0 {
		t.Fatalf("there is no driver %s", name)
	}
	return all[i]
}

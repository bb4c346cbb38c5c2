// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/problem"
)

// A slip in a filter is named, with what was likely meant.
func TestFiltersAreChecked(t *testing.T) {
	rules := []string{"expired", "weak-key"}
	for query, hint := range map[string]string{
		"rule=expird": `Did you mean "expired"?`, "rule=nonsense-of-mine": "tally rules", "severity=hihg": `Did you mean "high"?`, "state=opne": `Did you mean "open"?`,
		"place=fiel:///etc": `Did you mean "file"?`, "place=etc/nginx": "absolute path",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = finding.ParseFilter(q, rules)
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(problem.Of(err).Hint, hint) {
			t.Errorf("%s: %v, hint %q", query, err, problem.Of(err).Hint)
		}
	}
	for _, query := range []string{"", "rule=expired", "severity=HIGH", "place=/etc", "place=tls://localhost:443", "rule=gone-rule&state=closed"} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := finding.ParseFilter(q, rules); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package rules

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// compromisedJSON lists keys whose private half was published. Each hash was
// computed from that private half, so the list claims nothing that cannot be
// checked at its source. Debian's weak OpenSSL keys of 2008 are not in it: there
// are some hundred thousand, in packages that are no longer distributed.
//
//go:embed compromised_keys.json
var compromisedJSON []byte

// A compromise says why a key counts as known to everybody.
type compromise struct{ name, reason, source string }

// compromised returns the list by key. It panics when the list is not of its
// form, which its test would have shown.
func compromised() map[tallystick.KeyID]compromise {
	var file struct {
		Sources []struct {
			Source, Reason string
			Keys           []struct {
				Name string
				SPKI tallystick.KeyID `json:"spki_sha256"`
			}
		}
	}
	if err := json.Unmarshal(compromisedJSON, &file); err != nil {
		panic(fmt.Sprintf("rules: compromised_keys.json: %v", err))
	}
	list := make(map[tallystick.KeyID]compromise)
	for _, source := range file.Sources {
		for _, key := range source.Keys {
			list[key.SPKI] = compromise{key.Name, source.Reason, source.Source}
		}
	}
	return list
}

func compromisedKey() rule.Rule {
	list := compromised()
	return rule.Rule{
		Name:  "compromised-key",
		Title: "A key that everybody has",
		About: "The private half of this key was published: in a product, in a standard, or with the source of a program. Whoever believes it, " +
			"believes anybody. It is low where nobody is known to rely on it.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "CA/Browser Forum TLS Baseline Requirements sections 4.9.1.1 and 6.1.1.3",
		URL:       baselineURL,
		Effective: day(2012, time.July, 1),
		Do:        "Remove it from wherever it is accepted or served, make a key of your own, and look into who has used it meanwhile.",
		Check: func(s rule.Subject) []rule.Hit {
			known, ok := list[s.Credential.Key.ID]
			if !ok {
				return nil
			}
			severity := tallystick.SeverityCritical
			if !reliedOn(&s) {
				severity = standingOf(&s).idleSeverity()
			}
			return one(severity, "%s: %s (%s)", known.name, known.reason, known.source)
		},
	}
}
